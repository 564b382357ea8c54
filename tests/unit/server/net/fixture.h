/* fixture.h - what every test of this folder includes. */
#pragma once

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/net_server.h"
