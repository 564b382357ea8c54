/* version.h - what this program is; the values come from CMake. */
#pragma once

#ifndef TRIVET_VERSION
#error "TRIVET_VERSION comes from CMake"
#endif
#ifndef TRIVET_REVISION
#define TRIVET_REVISION "unknown"
#endif
