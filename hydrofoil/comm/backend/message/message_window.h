// SPDX-License-Identifier: Apache-2.0
// Windows by messages: a reader asks the owner's service, which answers as soon as the version is
// published. A read costs a notice and the bytes; retire() costs a notice to every reader.
#pragma once

#include <memory>
#include <vector>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/backend/message/message_world.h"

namespace hydrofoil::comm {

struct WindowMembers {
  int rank;                      // of the group
  std::vector<int> world_ranks;  // by rank of the group
  std::vector<int> readers;      // ranks of the group: who retires versions here
};

std::unique_ptr<WindowPart> make_message_window(std::shared_ptr<MessageWorld> world,
                                                uint32_t number, SharedBytes memory,
                                                WindowMembers members);

}  // namespace hydrofoil::comm
