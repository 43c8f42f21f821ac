# Compiler, warnings, ccache, linker and sanitizers: everything that is the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(HYDROFOIL_CCACHE ccache)
if(HYDROFOIL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${HYDROFOIL_CCACHE})
endif()
find_program(HYDROFOIL_MOLD mold)
if(HYDROFOIL_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(hydrofoil_options INTERFACE)
target_compile_options(hydrofoil_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror)
target_include_directories(hydrofoil_options INTERFACE ${CMAKE_SOURCE_DIR})

# The release preset compiles a target's sources by the four, which parses what they include once: a build of everything
# takes half the time. Names of a room's files must differ, then, those in anonymous namespaces too; a file of tests has a
# namespace of its own. The sanitizers' builds compile each file by itself, and find one that leans on its neighbours.
if(CMAKE_UNITY_BUILD)
  add_compile_options(-Wno-subobject-linkage)  # takes an included .cpp for a header
endif()

# Multiplications and additions fuse only where the source says so: results must not depend on the
# instruction set the compiler was allowed to use.
add_compile_options(-ffp-contract=off)

# A debug build poisons released memory and checks invariants that cost time, the standard library's
# preconditions among them (these do not change its ABI: libtorch fits).
add_compile_definitions($<$<CONFIG:Debug>:HYDROFOIL_DEBUG=1> $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)

foreach(sanitizer IN LISTS HYDROFOIL_SANITIZE)
  add_compile_options(-fsanitize=${sanitizer} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${sanitizer})
endforeach()
if("undefined" IN_LIST HYDROFOIL_SANITIZE)
  add_compile_options(-fno-sanitize-recover=all)
endif()

# libFuzzer watches every branch of the code it feeds (tests/fuzz).
if(HYDROFOIL_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "HYDROFOIL_FUZZ needs clang: -DCMAKE_CXX_COMPILER=clang++-19")
  endif()
  # libstdc++ 12 itself uses what it deprecates, which clang reports.
  add_compile_options(-fsanitize=fuzzer-no-link -Wno-deprecated-declarations)
endif()

# The compute threads use OpenMP (one runtime with libtorch: libgomp.so.1, found by name so that the
# wheel's copy serves both). ThreadSanitizer cannot see into libgomp and clang has a runtime of its own:
# those builds run them serially.
if(NOT "thread" IN_LIST HYDROFOIL_SANITIZE AND NOT HYDROFOIL_FUZZ)
  target_compile_options(hydrofoil_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  target_link_options(hydrofoil_options INTERFACE -fopenmp)
endif()
