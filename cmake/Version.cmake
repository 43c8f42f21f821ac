# Script: writes the version with the git revision; touches the file only when it changes.
execute_process(
  COMMAND ${CMAKE_COMMAND} -E env GIT_OPTIONAL_LOCKS=0 git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
  OUTPUT_VARIABLE REVISION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT REVISION)
  set(REVISION "unknown revision")
endif()
if(NOT TORCH)
  set(TORCH none)
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
