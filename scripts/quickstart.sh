#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a bare Debian 12 to a quantized model in ONNX Runtime: installs what is needed, builds the exporter of the small
# trained Qwen3 that comes with the repository, exports it as w8a16, reports its fidelity, and lets the float model, the
# quantized session and ONNX Runtime continue three prompts. Fails if they disagree.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh --run
cmake --preset quickstart
cmake --build --preset quickstart --target export_tinyqwen
tests/engine/install.sh tests/engine/onnx

exporter=build/quickstart/examples/exporters/export_tinyqwen
model=tests/data/tinyqwen
out=build/quickstart/tinyqwen-w8a16
quantized=(--scheme w8a16 --per-channel --calibration tests/data/text/calib.jsonl)
"$exporter" export --checkpoint $model "${quantized[@]}" --target onnx_winml --out $out --eval tests/data/text/eval.jsonl
echo
ls -l $out

disagreements=0
for prompt in "The capital of France is" "2 + 2 =" "A baby dog is called a"; do
  float=$("$exporter" generate --checkpoint $model --scheme f32 --prompt "$prompt" --max-new 16)
  session=$("$exporter" generate --checkpoint $model "${quantized[@]}" --quiet --prompt "$prompt" --max-new 16)
  ids=$("$exporter" tokens --checkpoint $model --text "$prompt")
  engine=$(node tests/engine/onnx/run.mjs --model $out --ids "$ids" --max-new 16 --eos 1216,1214)
  ids=$(node -p 'JSON.parse(process.argv[1]).ids.filter((id) => id != 1214 && id != 1216).join()' "$engine")
  engine=$("$exporter" tokens --checkpoint $model --ids "$ids")
  printf '\n%s\n  float model        %s\n  quantized session  %s\n  ONNX Runtime       %s\n' "$prompt" "$float" "$session" "$engine"
  [[ $float == "$session" && $float == "$engine" ]] || disagreements=$((disagreements + 1))
done
echo
if ((disagreements > 0)); then
  echo "$disagreements of 3 prompts were continued differently" >&2
  exit 1
fi
echo "All three agree on all prompts."
