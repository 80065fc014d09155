// SPDX-License-Identifier: Apache-2.0
// A target without a fusion that does not exist.
// expect: without<Target, Fusions...> takes names of rules::fuse
#include <qwq/targets/disable_fusions.hpp>

using namespace qwq;

static_assert(!without<native<>, "fuse_swiglu">::fuses("fuse_swiglu"));
#ifdef FAIL
static_assert(!without<native<>, "fuse_swigul">::fuses("fuse_swigul"));
#endif
