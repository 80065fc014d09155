# SPDX-License-Identifier: Apache-2.0
# Builds the consumer project against the installed package and against the source tree.
# Run as: cmake -DSOURCE=... -DBUILD=... -DSCRATCH=... -DCOMPILER=... -DVERSION=... -DWAY=<way> -P check.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}:\n${said}")
  endif()
  set(said "${said}" PARENT_SCOPE)
endfunction()

set(prefix ${SCRATCH}/prefix)
set(installed -DCMAKE_PREFIX_PATH=${prefix} -DQWQ_VERSION=${VERSION})
set(project ${CMAKE_CURRENT_LIST_DIR})
set(consumer ${SCRATCH}/consumer)
set(configure ${CMAKE_COMMAND} -S ${project} -B ${consumer} -DCMAKE_CXX_COMPILER=${COMPILER}
    -DCONFIG=${SOURCE}/tests/data/tinyqwen/config.json)
file(REMOVE_RECURSE ${SCRATCH})
set(executables core circle full)

if(NOT WAY STREQUAL "add_subdirectory")
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
endif()
if(WAY STREQUAL "add_subdirectory")
  run(${configure} -DQWQ_SOURCE=${SOURCE})
elseif(WAY STREQUAL "find_package")
  run(${configure} ${installed})
elseif(WAY STREQUAL "core")  # needs nothing that has to be linked
  run(${configure} ${installed} -DCOMPONENTS=core -DCMAKE_DISABLE_FIND_PACKAGE_ICU=ON
      -DCMAKE_DISABLE_FIND_PACKAGE_ONNX=ON -DCMAKE_DISABLE_FIND_PACKAGE_Protobuf=ON
      -DCMAKE_DISABLE_FIND_PACKAGE_FlatBuffers=ON
      -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON)
  set(executables core)
elseif(WAY STREQUAL "circle")  # one file format without the other
  run(${configure} ${installed} -DCOMPONENTS=circle -DCMAKE_DISABLE_FIND_PACKAGE_ONNX=ON
      -DCMAKE_DISABLE_FIND_PACKAGE_Protobuf=ON -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON)
  set(executables core circle)
elseif(WAY STREQUAL "unknown_component")
  execute_process(COMMAND ${configure} ${installed} -DCOMPONENTS=attic RESULT_VARIABLE code ERROR_VARIABLE said
                  OUTPUT_QUIET)
  if(code EQUAL 0 OR NOT said MATCHES "no component 'attic'")
    message(FATAL_ERROR "an unknown component was accepted, or refused for another reason: ${said}")
  endif()
  return()
endif()

run(${CMAKE_COMMAND} --build ${consumer})
foreach(executable IN LISTS executables)
  run(${consumer}/${executable})
  if(NOT said STREQUAL VERSION)
    message(FATAL_ERROR "${executable} says '${said}', expected '${VERSION}'")
  endif()
endforeach()
if(EXISTS ${consumer}/full AND NOT EXISTS ${consumer}/export_model.cpp)
  message(FATAL_ERROR "qwq_add_exporter generated nothing")
endif()
