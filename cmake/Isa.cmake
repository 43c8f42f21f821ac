# hydrofoil_isa_kernels(ROOM kernel .. [VNNI kernel ..] [BF16 kernel ..])
#
# Compiles hydrofoil/ROOM/KERNEL_kernel.inl once per instruction-set tier into the room's library; those
# after VNNI for the tier that multiplies bytes, too, those after BF16 for the one that multiplies bf16.
# The three-line source of each tier is generated: the tier's vector header, then the kernel. Those
# files get their own flags, so they must not emit a weak symbol that other files could share
# (tools/check_isa_symbols.py): no standard library in a .inl or in what it includes.
set(HYDROFOIL_ISA_TIERS scalar)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND HYDROFOIL_ISA_TIERS avx2 avx512)
  set(HYDROFOIL_ISA_TIERS_VNNI avx512_vnni)
  set(HYDROFOIL_ISA_TIERS_BF16 avx512_bf16)
endif()
set(HYDROFOIL_ISA_FLAGS_scalar "")
set(HYDROFOIL_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(HYDROFOIL_ISA_FLAGS_avx512
    ${HYDROFOIL_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(HYDROFOIL_ISA_FLAGS_avx512_vnni ${HYDROFOIL_ISA_FLAGS_avx512} -mavx512vnni)
set(HYDROFOIL_ISA_FLAGS_avx512_bf16 ${HYDROFOIL_ISA_FLAGS_avx512_vnni} -mavx512bf16)

function(hydrofoil_isa_kernels room)
  cmake_parse_arguments(ARG "" "" "VNNI;BF16" ${ARGN})
  foreach(kernel IN LISTS ARG_UNPARSED_ARGUMENTS ARG_VNNI ARG_BF16)
    set(tiers ${HYDROFOIL_ISA_TIERS})
    foreach(more VNNI BF16)
      if(kernel IN_LIST ARG_${more})
        list(APPEND tiers ${HYDROFOIL_ISA_TIERS_${more}})
      endif()
    endforeach()
    foreach(tier IN LISTS tiers)
      set(source ${CMAKE_CURRENT_BINARY_DIR}/${kernel}_${tier}.cpp)
      file(CONFIGURE OUTPUT ${source} CONTENT
           "#define HYDROFOIL_TIER ${tier}\n#include \"hydrofoil/kernels/vec_${tier}.h\"\n#include \"hydrofoil/${room}/${kernel}_kernel.inl\"\n")
      # -O3 in every build type: a debug build would spend its time here.
      set_source_files_properties(${source} PROPERTIES
        COMPILE_OPTIONS "-O3;-fno-math-errno;-fno-trapping-math;${HYDROFOIL_ISA_FLAGS_${tier}}")
      target_sources(hydrofoil_${room} PRIVATE ${source})
    endforeach()
  endforeach()
endfunction()
