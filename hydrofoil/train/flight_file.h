// SPDX-License-Identifier: Apache-2.0
// What every rank was doing when a run ended badly, kept beside its figures.
#pragma once

#include <filesystem>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::train {

// Writes <output>/flight.json: the error, and for each rank what it was in and its last few hundred
// calls and activities, oldest first, with times in seconds before this moment. Whichever rank
// comes first has written it: later ones would tell of consequences. All see the same where ranks
// share memory. The error, pointing there.
Error keep_flight_record(const comm::Communicator& group, const std::filesystem::path& output,
                         const Error& error);

// Removes what an earlier run has left in this folder; before any rank may fail. Error(kError)
// where it cannot be removed.
void drop_flight_record(const std::filesystem::path& output);

}  // namespace hydrofoil::train
