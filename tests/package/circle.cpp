// SPDX-License-Identifier: Apache-2.0
// What writes Circle needs FlatBuffers' headers and the compiled schema, and neither ONNX nor a command line.
#include <qwq/core/version.hpp>
#include <qwq/emit/circle/circle_schema.hpp>

#include <cstdio>

int main() {
  flatbuffers::FlatBufferBuilder bytes;
  bytes.Finish(qwq::to_circle::schema::CreateModel(bytes), "CIR0");
  flatbuffers::Verifier verifier(bytes.GetBufferPointer(), bytes.GetSize());
  if (!verifier.VerifyBuffer<qwq::to_circle::schema::Model>("CIR0")) return 1;
  std::printf("%d.%d.%d", qwq::version.major, qwq::version.minor, qwq::version.patch);
}
