# SPDX-License-Identifier: Apache-2.0
# Finds what the components in `qwq_components` need; used by the build tree and by the installed package alike.
include(CMakeFindDependencyMacro)

find_dependency(Threads)
find_dependency(Boost 1.74)
find_package(xtl QUIET)  # on which some xsimd depend
find_dependency(xsimd)
if("text" IN_LIST qwq_components)
  find_dependency(ICU COMPONENTS uc i18n)
  find_dependency(nlohmann_json)
endif()
if("onnx" IN_LIST qwq_components)
  find_dependency(Protobuf)
  find_dependency(ONNX)
  if(NOT TARGET onnx)  # from 1.17 on its targets are in a namespace
    add_library(onnx INTERFACE IMPORTED)
    target_link_libraries(onnx INTERFACE ONNX::onnx)
  endif()
endif()
if("circle" IN_LIST qwq_components)
  find_dependency(FlatBuffers)  # its headers
endif()
if("exporter" IN_LIST qwq_components)
  find_dependency(CLI11)
endif()
