# SPDX-License-Identifier: Apache-2.0
# qwq_add_exporter(): one executable, specialised to one model config.
option(QWQ_NATIVE "Compile executables for the instruction set of this machine" ON)
set(QWQ_NATIVE_OPTIONS $<$<BOOL:${QWQ_NATIVE}>:-march=native>)
