// SPDX-License-Identifier: Apache-2.0
// Defines the version of the library. This is its only definition; CMake reads it from here.
#pragma once

/// Major, minor and patch number, for the preprocessor.
#define QWQ_VERSION_MAJOR 0
#define QWQ_VERSION_MINOR 1
#define QWQ_VERSION_PATCH 0

#define QWQ_STRINGIFY_(x) #x
#define QWQ_STRINGIFY(x) QWQ_STRINGIFY_(x)
/// The version as text, "major.minor.patch".
#define QWQ_VERSION_STRING \
  QWQ_STRINGIFY(QWQ_VERSION_MAJOR) "." QWQ_STRINGIFY(QWQ_VERSION_MINOR) "." QWQ_STRINGIFY(QWQ_VERSION_PATCH)

namespace qwq {

/// A semantic version.
struct version_number {
  int major;  ///< Incremented for incompatible changes; while it is 0, any version may be incompatible.
  int minor;  ///< Incremented for additions.
  int patch;  ///< Incremented for corrections.
};

/// Version of these headers.
inline constexpr version_number version{QWQ_VERSION_MAJOR, QWQ_VERSION_MINOR, QWQ_VERSION_PATCH};

}  // namespace qwq
