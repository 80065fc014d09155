# SPDX-License-Identifier: Apache-2.0
# Checks that a program prints what a file says. Run as: cmake -DCOMMAND=<program>;<argument>... -DEXPECTED=<file> -P output.cmake
execute_process(COMMAND ${COMMAND} OUTPUT_VARIABLE said ERROR_VARIABLE complaint RESULT_VARIABLE code)
file(READ ${EXPECTED} expected)
if(NOT code EQUAL 0 OR NOT said STREQUAL expected)
  message(FATAL_ERROR "${COMMAND} returned ${code} and complained '${complaint}'; expected\n${expected}\nfound\n${said}")
endif()
