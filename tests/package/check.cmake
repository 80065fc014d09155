# SPDX-License-Identifier: Apache-2.0
# Builds the consumer project against the source tree, the installed package and the Debian package.
# Run as: cmake -DSOURCE=... -DBUILD=... -DSCRATCH=... -DCOMPILER=... -DVERSION=... -DCPACK=... -DWAY=<way> -P check.cmake
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

if(WAY STREQUAL "deb")  # unpacked, as apt would into /
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${SCRATCH}/build -DCMAKE_CXX_COMPILER=${COMPILER} -DQWQ_BUILD_TESTS=OFF
      -DQWQ_BUILD_EXAMPLES=OFF -DQWQ_BUILD_BENCH=OFF)
  run(${CMAKE_COMMAND} --build ${SCRATCH}/build)
  run(${CPACK} --config ${SCRATCH}/build/CPackConfig.cmake -B ${SCRATCH})
  set(deb ${SCRATCH}/libqwq-dev_${VERSION}_all.deb)
  run(dpkg-deb --field ${deb} Package Version Architecture Depends)
  if(NOT said MATCHES "^Package: libqwq-dev\nVersion: ${VERSION}\nArchitecture: all\nDepends: .*libboost-dev.*libxsimd-dev")
    message(FATAL_ERROR "${deb} says\n${said}")
  endif()
  run(dpkg-deb --extract ${deb} ${SCRATCH}/root)
  set(prefix ${SCRATCH}/root/usr)
  set(installed -DCMAKE_PREFIX_PATH=${prefix} -DQWQ_VERSION=${VERSION})
  foreach(file include/qwq.hpp include/qwq/emit/circle/circle_schema.hpp share/doc/libqwq-dev/copyright
               share/qwq/single_include/qwq.hpp)
    if(NOT EXISTS ${prefix}/${file})
      message(FATAL_ERROR "${deb} has no ${file}")
    endif()
  endforeach()
elseif(NOT WAY STREQUAL "add_subdirectory")
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
endif()

if(WAY STREQUAL "pkg_config" OR WAY STREQUAL "deb")
  set(ENV{PKG_CONFIG_PATH} ${prefix}/share/pkgconfig)
  foreach(pair core:qwq circle:qwq-circle full:qwq-onnx)
    string(REPLACE ":" ";" pair ${pair})
    list(POP_FRONT pair executable)
    run(pkg-config --cflags --libs ${pair})
    separate_arguments(flags UNIX_COMMAND "${said}")
    file(MAKE_DIRECTORY ${consumer})
    run(${COMPILER} -std=c++20 ${project}/${executable}.cpp ${flags} -o ${consumer}/${executable})
    run(pkg-config --modversion ${pair})
    if(NOT said STREQUAL "${VERSION}\n")
      message(FATAL_ERROR "pkg-config says that ${pair} is '${said}', expected '${VERSION}'")
    endif()
  endforeach()
endif()
if(WAY STREQUAL "add_subdirectory")
  run(${configure} -DQWQ_SOURCE=${SOURCE})
elseif(WAY MATCHES "^(find_package|deb)$")
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

if(NOT WAY STREQUAL "pkg_config")
  run(${CMAKE_COMMAND} --build ${consumer})
endif()
foreach(executable IN LISTS executables)
  run(${consumer}/${executable})
  if(NOT said STREQUAL VERSION)
    message(FATAL_ERROR "${executable} says '${said}', expected '${VERSION}'")
  endif()
endforeach()
if(WAY STREQUAL "deb")  # someone's runtime finds the header that custom_runtime.cmake builds and runs one on
  run(${CMAKE_COMMAND} -E compare_files ${SOURCE}/single_include/qwq.hpp ${prefix}/share/qwq/single_include/qwq.hpp)
  run(${CMAKE_COMMAND} -S ${SOURCE}/examples/custom_runtime -B ${SCRATCH}/runtime -DCMAKE_CXX_COMPILER=${COMPILER}
      -DCMAKE_PREFIX_PATH=${prefix})
endif()
if(NOT WAY STREQUAL "pkg_config" AND EXISTS ${consumer}/full AND NOT EXISTS ${consumer}/export_model.cpp)
  message(FATAL_ERROR "qwq_add_exporter generated nothing")
endif()
if(WAY MATCHES "^(add_subdirectory|find_package)$")  # a bad config ends the configuration with one line
  file(READ ${SOURCE}/tests/data/tinyqwen/config.json json)
  string(JSON json SET "${json}" head_dim 63)
  file(WRITE ${SCRATCH}/bad.json "${json}")
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${project} -B ${consumer} -DCONFIG=${SCRATCH}/bad.json
                  RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE said)
  set(line " ${SCRATCH}/bad.json: head_dim: expected an even number from 2 to 1024, found 63\n")
  string(FIND "${said}" "${line}" at)
  if(code EQUAL 0 OR at EQUAL -1)
    message(FATAL_ERROR "expected '${line}', but configuring said: ${said}")
  endif()
endif()
