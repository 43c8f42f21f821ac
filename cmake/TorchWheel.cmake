# libtorch from the PyTorch pip wheel as one imported target, torch_wheel.
#
# Not find_package(Torch): its config pulls in Caffe2's, probes CUDA twice and wants nvcc.
# TORCH_ROOT may name the folder site-packages/torch; without it the project's .venv, then python3.
if(NOT TORCH_ROOT)
  find_program(HYDROFOIL_PYTHON NAMES python3 PATHS ${CMAKE_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
  find_program(HYDROFOIL_PYTHON NAMES python3)
  execute_process(
    COMMAND ${HYDROFOIL_PYTHON} -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS ${TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch not found. Run scripts/bootstrap.sh, or pass -DTORCH_ROOT=.../site-packages/torch, "
                      "or -DHYDROFOIL_TORCH=OFF for the rooms that do not need it.")
endif()
set(TORCH_ROOT ${TORCH_ROOT} CACHE PATH "folder of the torch package")

file(STRINGS ${TORCH_ROOT}/include/torch/headeronly/version.h version_lines
     REGEX "#define TORCH_VERSION_(MAJOR|MINOR) [0-9]+")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" HYDROFOIL_TORCH_VERSION "${version_lines}")
if(HYDROFOIL_TORCH_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "libtorch ${HYDROFOIL_TORCH_VERSION} in ${TORCH_ROOT} is too old: 2.11 or newer is needed")
endif()
message(STATUS "libtorch ${HYDROFOIL_TORCH_VERSION}: ${TORCH_ROOT}")

foreach(lib c10 torch_cpu)
  add_library(wheel_${lib} SHARED IMPORTED)
  set_target_properties(wheel_${lib} PROPERTIES IMPORTED_LOCATION ${TORCH_ROOT}/lib/lib${lib}.so)
endforeach()
add_library(torch_wheel INTERFACE)
target_include_directories(torch_wheel SYSTEM INTERFACE
    ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(torch_wheel INTERFACE AT_PER_OPERATOR_HEADERS USE_DISTRIBUTED USE_C10D_GLOO)
target_link_libraries(torch_wheel INTERFACE wheel_torch_cpu wheel_c10)
target_link_options(torch_wheel INTERFACE LINKER:--allow-shlib-undefined)
