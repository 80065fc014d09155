// SPDX-License-Identifier: Apache-2.0
// The version is the one that the project asked for; nothing but headers is linked.
#include <qwq/core/version.hpp>

#include <boost/hana/tuple.hpp>
#include <xsimd/xsimd.hpp>
#include <xtensor/xtensor.hpp>

#include <cstdio>

int main() { std::printf("%d.%d.%d", qwq::version.major, qwq::version.minor, qwq::version.patch); }
