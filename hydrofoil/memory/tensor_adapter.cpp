// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/tensor_adapter.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <string_view>
#include <unordered_map>

#include "hydrofoil/core/error.h"

namespace hydrofoil::memory {

// One managed storage. Kept alive by the adapter and by the storage itself, whichever lives longer.
struct TensorAdapter::Entry {
  std::mutex mutex;  // storage against its death on another thread
  c10::StorageImpl* storage = nullptr;
  std::shared_ptr<Entry> self;  // held while the storage lives
  std::atomic<ParameterCache*> cache{nullptr};
  UnitId unit = 0;
  size_t offset_bytes = 0;  // in the unit's resident copy
};

namespace {

using Entry = TensorAdapter::Entry;

// The key above Autograd that core leaves without a fallback and that is neither a mode nor for
// tests only. Above Autograd means one interception a composite operator; backward kernels are seen
// all the same, because the saved tensors carry the key.
constexpr auto kKey = c10::DispatchKey::DeferredInit;

std::atomic<int64_t> intercepted_calls{0};

// Deleter of a managed storage's DataPtr: its address tells managed storages from others without a
// look-up, and its call tells of the storage's death.
void on_storage_death(void* context) {
  auto* entry = static_cast<Entry*>(context);
  std::shared_ptr<Entry> last;
  std::lock_guard lock(entry->mutex);
  entry->storage = nullptr;
  last = std::move(entry->self);
}

Entry* entry_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.key_set().has(kKey) || !tensor.has_storage()) return nullptr;
  auto& pointer = tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
  return pointer.get_deleter() == &on_storage_death ? static_cast<Entry*>(pointer.get_context())
                                                    : nullptr;
}

// While released, raw access that bypasses the dispatcher throws instead of reading null. libtorch
// 2.11 can switch this on but not off again, so there it stays off.
template <class Storage>
void guard_raw_access(Storage& storage, bool released) {
  if constexpr (requires { storage.clear_data_ptr_access_error_msg_(); }) {
    if (released) {
      storage.release_data_and_set_meta_custom_data_ptr_error_msg_(
          "this parameter is managed by hydrofoil and not resident: use memory::Hold around raw "
          "access");
    } else {
      storage.clear_data_ptr_access_error_msg_();
    }
  }
}

void set_memory(Entry& entry, void* data) {
  std::lock_guard lock(entry.mutex);
  if (!entry.storage) return;
  auto& pointer = entry.storage->_mutable_data_ptr_no_checks();
  const auto device = pointer.device();
  pointer.release_context();  // or the assignment would run on_storage_death
  entry.storage->set_data_ptr_noswap(c10::DataPtr(data, &entry, &on_storage_death, device));
  guard_raw_access(*entry.storage, data == nullptr);
}

// What the fallback must know of an operator, from its schema, once a thread.
struct OperatorTraits {
  bool needs_data = false;
  std::vector<bool> writes;  // by argument
};

// Operators whose results only alias or only measure their inputs need no data. Some of them
// (reshape, to, contiguous) may copy after all: the key stays on below them, so the copy is seen.
OperatorTraits examine(const c10::FunctionSchema& schema) {
  OperatorTraits traits;
  for (const auto& argument : schema.arguments())
    traits.writes.push_back(argument.alias_info() && argument.alias_info()->isWrite());
  constexpr std::string_view kShapeOnly[] = {"aten::empty_like",     "aten::zeros_like",
                                             "aten::ones_like",      "aten::new_",
                                             "aten::requires_grad_", "aten::retain_grad"};
  for (const auto prefix : kShapeOnly)
    if (std::string_view(schema.name()).starts_with(prefix)) {
      traits.writes.assign(traits.writes.size(), false);
      return traits;
    }
  traits.needs_data =
      schema.returns().empty() || std::ranges::find(traits.writes, true) != traits.writes.end();
  for (const auto& result : schema.returns()) traits.needs_data |= !result.alias_info();
  return traits;
}

const OperatorTraits& traits_of(const c10::FunctionSchema& schema) {
  thread_local std::unordered_map<const c10::FunctionSchema*, OperatorTraits> known;
  auto [it, fresh] = known.try_emplace(&schema);
  if (fresh) it->second = examine(schema);
  return it->second;
}

// The units an operator's arguments lie in, pinned for as long as it runs.
class PinnedArguments {
 public:
  ~PinnedArguments() {
    for (const auto& [cache, unit] : pins_) cache->unpin(unit);
  }

  void add(const at::Tensor& tensor, bool written) {
    Entry* entry = entry_of(tensor);
    if (!entry) return;
    ParameterCache* cache = entry->cache.load();
    if (!cache)
      throw Error(ExitCode::kError, "a managed parameter was used after its engine was destroyed");
    if (written && !cache->in_edit(entry->unit))
      throw Error(ExitCode::kError, "in-place write to a managed parameter outside an edit",
                  cache->name(entry->unit),
                  "wrap it in train::Engine::edit, so that every rank's slice follows");
    if (std::ranges::find(pins_, std::pair(cache, entry->unit)) != pins_.end()) return;
    cache->pin(entry->unit);
    pins_.emplace_back(cache, entry->unit);
  }

 private:
  c10::SmallVector<std::pair<ParameterCache*, UnitId>, 4> pins_;
};

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  intercepted_calls.fetch_add(1, std::memory_order_relaxed);
  const auto below = keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kKey);
  const auto& schema = op.schema();
  const OperatorTraits& traits = traits_of(schema);
  if (!traits.needs_data) return op.redispatchBoxed(below, stack);

  PinnedArguments pins;
  const size_t arguments = schema.arguments().size();
  for (size_t i = 0; i < arguments; ++i) {
    const c10::IValue& value = (*stack)[stack->size() - arguments + i];
    if (value.isTensor()) {
      pins.add(value.toTensor(), traits.writes[i]);
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorList()) pins.add(tensor, traits.writes[i]);
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorList())
        if (tensor) pins.add(*tensor, traits.writes[i]);
    }
  }
  c10::impl::ExcludeDispatchKeyGuard no_nested(kKey);  // a composite runs under one pin
  op.redispatchBoxed(below, stack);
}

}  // namespace

at::ScalarType scalar_type(DType type) {
  switch (type) {
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    default:
      throw std::logic_error("TensorAdapter: parameters are floating point");
  }
}

TORCH_LIBRARY_IMPL(_, DeferredInit, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TensorAdapter::TensorAdapter(ParameterCache& cache) : cache_(cache) {
  cache.listen(this);
}

TensorAdapter::~TensorAdapter() {
  cache_.listen(nullptr);
  for (auto& unit : entries_)
    for (auto& entry : unit) {
      entry->cache = nullptr;
      set_memory(*entry, nullptr);
    }
}

at::Tensor TensorAdapter::create(UnitId unit, size_t segment, size_t index) {
  const Segment& owner = cache_.segments(unit)[segment];
  // An allocation of no bytes: the storage gets its logical size, and memory when the unit comes
  // in.
  at::Tensor tensor = at::empty({0}, scalar_type(owner.resident_dtype()));
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(owner.layout.tensors()[index].shape);
  tensor.storage().set_nbytes(owner.layout.tensors()[index].numel() *
                              size_of(owner.resident_dtype()));
  bind(tensor, unit, segment, index);
  tensor.set_requires_grad(true);
  return tensor;
}

void TensorAdapter::adopt(const at::Tensor& tensor, UnitId unit, size_t segment, size_t index) {
  if (!tensor.is_contiguous() || tensor.storage_offset() != 0 ||
      tensor.storage().nbytes() != tensor.nbytes())
    throw Error(ExitCode::kError, "a parameter must be contiguous and own its storage",
                cache_.segments(unit)[segment].layout.tensors()[index].name,
                "use .contiguous().clone() to make it so");
  bind(tensor, unit, segment, index);
}

// The only change of tensor metadata, and the only set_data, ever: add the key.
void TensorAdapter::bind(const at::Tensor& tensor, UnitId unit, size_t segment, size_t index) {
  auto keyed = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(tensor.storage()),
                                                        tensor.key_set().add(kKey), tensor.dtype());
  keyed.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  tensor.set_data(keyed);

  auto entry = std::make_shared<Entry>();
  entry->self = entry;
  entry->storage = tensor.storage().unsafeGetStorageImpl();
  entry->cache = &cache_;
  entry->unit = unit;
  const Segment& owner = cache_.segments(unit)[segment];
  entry->offset_bytes = cache_.segment_offset_bytes(unit, segment) +
                        owner.layout.offset(index) * size_of(owner.resident_dtype());
  entry->storage->set_data_ptr_noswap(
      c10::DataPtr(nullptr, entry.get(), &on_storage_death, tensor.device()));
  guard_raw_access(*entry->storage, true);
  if (std::byte* base = cache_.resident(unit)) set_memory(*entry, base + entry->offset_bytes);
  if (entries_.size() <= unit) entries_.resize(unit + 1);
  entries_[unit].push_back(std::move(entry));
}

bool TensorAdapter::is_managed(const at::Tensor& tensor) {
  return entry_of(tensor) != nullptr;
}

void TensorAdapter::attach(UnitId unit, std::byte* base) {
  if (unit >= entries_.size()) return;
  for (auto& entry : entries_[unit]) set_memory(*entry, base + entry->offset_bytes);
}

void TensorAdapter::detach(UnitId unit) {
  if (unit >= entries_.size()) return;
  for (auto& entry : entries_[unit]) set_memory(*entry, nullptr);
}

int64_t TensorAdapter::intercepted() const {
  return intercepted_calls.load(std::memory_order_relaxed);
}

}  // namespace hydrofoil::memory
