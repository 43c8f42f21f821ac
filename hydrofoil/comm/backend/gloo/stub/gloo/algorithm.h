// SPDX-License-Identifier: Apache-2.0
// Stands in for a header of Gloo: ../../gloo_transport.cpp says why.
#pragma once
