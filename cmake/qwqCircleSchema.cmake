# SPDX-License-Identifier: Apache-2.0
# Compiles the schema of Circle into the header that qwq::circle includes.
find_program(QWQ_FLATC flatc REQUIRED DOC "The FlatBuffers compiler")

set(fbs ${PROJECT_SOURCE_DIR}/include/qwq/emit/circle/circle.fbs)
set(generated ${PROJECT_BINARY_DIR}/include/qwq/emit/circle)
set(qwq_circle_header ${generated}/circle_schema.hpp)
add_custom_command(OUTPUT ${qwq_circle_header}
  COMMAND ${QWQ_FLATC} --cpp --cpp-std c++17 --gen-object-api --gen-mutable --scoped-enums --filename-suffix _schema
          --filename-ext hpp -o ${generated} ${fbs}
  DEPENDS ${fbs} COMMENT "Compiling circle.fbs" VERBATIM)
if(QWQ_INSTALL)
  add_custom_target(qwq_circle_schema ALL DEPENDS ${qwq_circle_header})
else()
  add_custom_target(qwq_circle_schema DEPENDS ${qwq_circle_header})
endif()
add_dependencies(qwq_circle qwq_circle_schema)
target_include_directories(qwq_circle SYSTEM INTERFACE $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>)
