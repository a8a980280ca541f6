/* One segment as a node of torch's autograd: what kernel.py and sized.py do in Python, without Python. It lists addresses, calls the
 * runtime, and keeps what the backward pass needs; everything else was decided when the plan was made. See ../node.py. */
#include <stdint.h>

#include <ATen/EmptyTensor.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/dynamo/compiled_autograd.h>
#include <torch/library.h>

#include <cmath>
#include <cstring>

namespace format {
#include "../src/format.h"
}

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define LIBRARY(name, m) TORCH_LIBRARY(name, m) /* CELLSEARCH_NAME is defined by who compiles this */

namespace {

using at::Tensor;
using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using Numbers = std::vector<int64_t>;

/* -- errors: Python has the words ---------------------------------------------------------------------------------------------- */

enum Unusual { REFUSED, CREATES_GRAPH, TRANSFORMED, CHANGED, EXCHANGED };

/* Raises the Python exception. */
[[noreturn]] void fail(Unusual what, int64_t number) {
    static const auto handle =
        c10::Dispatcher::singleton().findSchemaOrThrow(TEXT(CELLSEARCH_NAME) "::unusual", "").typed<void(int64_t, int64_t)>();
    /* Under a transform the call would be one of the transform's. */
    const c10::impl::ExcludeDispatchKeyGuard plain(c10::DispatchKeySet(c10::DispatchKeySet::FULL));
    handle.call(what, number);
    TORCH_INTERNAL_ASSERT(false, "the handler of cellsearch returned");
}

/* -- memory -------------------------------------------------------------------------------------------------------------------- */

struct Block {
    c10::DataPtr memory;
    int64_t floats = 0;
    char *at() const { return static_cast<char *>(memory.get()); }
};

/* As Pool of plan.py. A lock that is taken is not waited for: in a forked child it may be that of a thread which is not there. */
struct Pool {
    std::mutex mutex;
    std::vector<Block> free;
    size_t kept;

    Block take(int64_t floats, bool poison) {
        Block found;
        {
            const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
            for (size_t k = lock ? free.size() : 0; k-- > 0;)
                if (floats <= free[k].floats && free[k].floats <= 2 * floats + 4096) {
                    found = std::move(free[k]);
                    free.erase(free.begin() + k);
                    break;
                }
        }
        if (!found.floats) {
            found.memory = c10::GetAllocator(c10::DeviceType::CPU)->allocate(floats * sizeof(float));
            found.floats = floats;
        }
        if (poison) std::fill_n(reinterpret_cast<float *>(found.at()), found.floats, NAN);
        return found;
    }

    void give(Block &&block) {
        const std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
        if (!lock || !block.floats) return;
        free.push_back(std::move(block));
        if (free.size() > kept) free.erase(free.begin());
    }
};

Tensor empty(at::IntArrayRef shape, bool poison) {
    Tensor made(at::detail::empty_cpu(shape, at::kFloat));
    if (poison) std::fill_n(made.mutable_data_ptr<float>(), made.numel(), NAN);
    return made;
}

Tensor zeros(at::IntArrayRef shape) {
    Tensor made = empty(shape, false);
    std::memset(made.mutable_data_ptr<float>(), 0, made.numel() * sizeof(float));
    return made;
}

/* Memory that may be read by its address. */
bool is_plain(const Tensor &tensor) {
    const c10::DispatchKeySet odd({c10::DispatchKey::Python, c10::DispatchKey::Batched, c10::DispatchKey::FuncTorchBatched,
                                   c10::DispatchKey::FuncTorchGradWrapper, c10::DispatchKey::Functionalize});
    return !tensor.key_set().has_any(odd) && tensor.device().is_cpu() && tensor.layout() == at::kStrided &&
           tensor.scalar_type() == at::kFloat;
}

/* -- plans --------------------------------------------------------------------------------------------------------------------- */

/* A call of the runtime but for its tensors, with tables of its own: it outlives the Python objects that it was made of. */
struct Plan {
    int (*run)(const format::Call *);
    format::Job job;
    int64_t packed, addresses, scratch, saved, lookup, states, weights;
    Numbers sizes;         /* elements of states, weights and other inputs */
    Numbers result;        /* shape of the memory that leaves the call; empty: none does */
    int64_t shift, length; /* which of its slots are the result */
    Numbers zeroed;        /* of each gradient of a weight: whether it begins as 0 */
    Numbers folded;        /* and whether it is part of that of the table */
    Numbers area, place;
    std::vector<format::Buffer> buffer;
    std::vector<format::Operand> operand;
    std::vector<format::Instruction> instruction;
    std::vector<format::Command> command;
    std::vector<format::Piece> piece;
    std::vector<format::Carried> carry;
    std::vector<format::Copy> copy;
};

template <class T> std::vector<T> copied(const T *from, int64_t count) { return std::vector<T>(from, from + count); }

struct Tokens {
    const int64_t *at = nullptr;
    int64_t vocabulary = 0, floats = 0;
};

/* Run on these addresses, with tables that no other thread uses. */
void run(const Plan &plan, const std::vector<char *> &addresses, const Tokens &tokens) {
    TORCH_INTERNAL_ASSERT((int64_t)addresses.size() == plan.addresses);
    format::Job job = plan.job;
    std::vector<format::Buffer> buffer = plan.buffer;
    if (tokens.at) {
        job.tokens = tokens.at;
        job.vocabulary = tokens.vocabulary;
        buffer[plan.lookup].floats = tokens.floats;
    }
    job.buffer = buffer.data();
    std::vector<char *> memory(sizeof(format::Call) / sizeof(char *) + addresses.size());
    auto *call = reinterpret_cast<format::Call *>(memory.data());
    call->job = &job;
    call->area = plan.area.data();
    call->place = plan.place.data();
    call->copy = plan.copy.data();
    call->copies = (int64_t)plan.copy.size();
    call->packed = plan.packed;
    std::copy(addresses.begin(), addresses.end(), call->address);
    const int code = plan.run(call);
    if (code) fail(REFUSED, code);
}

/* A tensor of its own on the slots of a memory that are the result: no view, so autograd treats it like any other. */
Tensor result_of(const Plan &plan, const Tensor &memory) {
    const int64_t slot = plan.result[1] * plan.result[2];
    Tensor made = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(memory.storage()), c10::DispatchKeySet(c10::DispatchKey::CPU),
                                                           memory.dtype());
    made.unsafeGetTensorImpl()->set_storage_offset(plan.shift * slot);
    made.unsafeGetTensorImpl()->set_sizes_contiguous({plan.length, plan.result[1], plan.result[2]});
    return made;
}

char *address_of(const Tensor &tensor) { return static_cast<char *>(const_cast<void *>(tensor.const_data_ptr())); }

/* -- the backward pass --------------------------------------------------------------------------------------------------------- */

/* What it needs of the forward pass. */
struct Kept {
    const std::shared_ptr<Pool> pool;
    std::shared_ptr<const Plan> plan;
    std::vector<Tensor> inputs;     /* x, states, weights, other inputs */
    std::vector<Tensor> held;       /* the same, contiguous */
    std::vector<uint32_t> versions; /* of the inputs, so that it is noticed when one is changed before the backward pass */
    std::vector<char *> addresses;  /* of what is held */
    std::vector<bool> wanted;       /* of which inputs there is a gradient */
    c10::Storage memory;            /* of the output; a reference to the output itself would keep itself alive */
    char *memory_address = nullptr;
    Numbers shape; /* of the output */
    Block saved;
    Tensor words; /* the tokens */
    Tokens tokens;
    bool poison = false;

    explicit Kept(std::shared_ptr<Pool> of) : pool(std::move(of)) {}
    ~Kept() { pool->give(std::move(saved)); }

    void check(const variable_list &outer) const {
        if (at::GradMode::is_enabled()) fail(CREATES_GRAPH, 0);
        for (const Tensor &gradient : outer)
            if (gradient.defined() && !is_plain(gradient)) fail(TRANSFORMED, 0);
        for (size_t k = 0; k < inputs.size(); k++)
            if (inputs[k]._version() != versions[k]) fail(CHANGED, 0);
        for (size_t k = 0; k < held.size(); k++)
            if (address_of(held[k]) != addresses[k]) fail(EXCHANGED, 0);
    }

    /* The gradients of all inputs, given those of the results; zeros stand for that of a result on which nothing depends. */
    variable_list gradients(variable_list outer) const {
        check(outer);
        const int64_t first = 1 + plan->states;
        std::vector<char *> list;
        list.reserve(plan->addresses);
        Block scratch = pool->take(plan->scratch, poison);
        list.push_back(scratch.at());
        list.push_back(saved.floats ? saved.at() : scratch.at());
        list.insert(list.end(), addresses.begin(), addresses.end());
        list.push_back(memory_address);
        for (int64_t k = 0; k < first; k++) {
            outer[k] = outer[k].defined() ? outer[k].contiguous() : zeros(k ? held[k].sizes() : at::IntArrayRef(shape));
            list.push_back(address_of(outer[k]));
        }
        variable_list found(inputs.size());
        std::vector<Tensor> folded;
        for (int64_t k = 0; k < plan->weights; k++) {
            Tensor gradient = plan->zeroed[k] ? zeros(held[first + k].sizes()) : empty(held[first + k].sizes(), false);
            list.push_back(address_of(gradient));
            (plan->folded[k] ? folded.emplace_back() : found[first + k]) = std::move(gradient);
        }
        if (tokens.at) found[0] = zeros(held[0].sizes());
        list.push_back(tokens.at ? address_of(found[0]) : nullptr);
        Tensor made;
        if (!plan->result.empty()) made = empty(plan->result, poison);
        list.push_back(made.defined() ? address_of(made) : nullptr);
        for (int64_t k = 1; k < first; k++) {
            if (wanted[k]) found[k] = empty(held[k].sizes(), poison);
            list.push_back(wanted[k] ? address_of(found[k]) : nullptr);
        }
        run(*plan, list, tokens);
        pool->give(std::move(scratch));
        if (made.defined()) found[0] = result_of(*plan, made);
        else if (!tokens.at && wanted[0]) found[0] = zeros(held[0].sizes());
        return found;
    }
};

struct Segment : Node {
    std::shared_ptr<const Kept> kept;
    SavedVariable output;

    std::string name() const override { return "_SegmentBackward"; } /* that of the function in Python */

    variable_list apply(variable_list &&outer) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        (void)output.unpack(getptr()); /* raises in a second pass, and where the output was changed */
        return kept->gradients(std::move(outer));
    }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        output.reset_data();
        kept.reset();
    }

    /* torch's compiled autograd calls what is kept when its graph runs. No two nodes are alike to it, so no graph is used again. */
    void compiled_args(torch::dynamo::autograd::CompiledNodeArgs &args) const override {
        static std::atomic<int64_t> count{0};
        args.collect(name());
        args.collect(count++);
    }

    variable_list apply_with_saved(const variable_list &outer, torch::dynamo::autograd::SwapSavedVariables &swapped) override {
        using namespace torch::dynamo::autograd;
        using Shapes = std::vector<std::optional<torch::autograd::InputMetadata>>;
        const auto run = [kept = kept](const variable_list &given, const std::vector<c10::IValue> &) { return kept->gradients(given); };
        const auto &python = getPyCompilerInterface();
        const auto bound = python->bind_function(swapped.get_py_compiler(), name(), run, {}, true, false);
        const auto shapes = IValuePacker<Shapes>::pack(get_input_metadata(next_edges()));
        return python->call_function(swapped.get_py_compiler(), "apply_functional", bound, outer, {}, shapes);
    }
};

/* -- what Python calls --------------------------------------------------------------------------------------------------------- */

template <class T> T &behind(int64_t handle) { return *reinterpret_cast<T *>(handle); }

template <class T> void release(int64_t handle) { delete reinterpret_cast<std::shared_ptr<T> *>(handle); }

int64_t make_pool(int64_t kept) {
    auto pool = std::make_shared<Pool>();
    pool->kept = kept;
    return reinterpret_cast<int64_t>(new std::shared_ptr<Pool>(std::move(pool)));
}

/* ``call``: the address of one whose tables are complete; ``numbers``: as plan_numbers in node.py lists them. */
int64_t make_plan(int64_t function, int64_t call, at::IntArrayRef numbers, at::IntArrayRef sizes, at::IntArrayRef result,
                  at::IntArrayRef zeroed, at::IntArrayRef folded) {
    const auto &from = behind<format::Call>(call);
    auto plan = std::make_shared<Plan>();
    plan->run = reinterpret_cast<int (*)(const format::Call *)>(function);
    plan->job = *from.job;
    plan->packed = from.packed;
    int64_t *const places[] = {&plan->addresses, &plan->scratch, &plan->saved,  &plan->lookup,
                               &plan->states,    &plan->weights, &plan->shift, &plan->length};
    TORCH_CHECK(numbers.size() == 8 && plan->job.format == FORMAT, "cellsearch: the node and its driver disagree");
    for (int k = 0; k < 8; k++) *places[k] = numbers[k];
    plan->sizes = sizes.vec();
    plan->result = result.vec();
    plan->zeroed = zeroed.vec();
    plan->folded = folded.vec();
    format::Job &job = plan->job;
    plan->area = copied(from.area, job.buffers);
    plan->place = copied(from.place, job.buffers);
    plan->copy = copied(from.copy, from.copies);
    plan->buffer = copied(job.buffer, job.buffers);
    plan->operand = copied(job.operand, job.operands);
    plan->instruction = copied(job.instruction, job.instructions);
    plan->command = copied(job.command, job.commands);
    plan->piece = copied(job.piece, job.pieces);
    plan->carry = copied(job.carry, job.carried);
    job.operand = plan->operand.data();
    job.instruction = plan->instruction.data();
    job.command = plan->command.data();
    job.piece = plan->piece.data();
    job.carry = plan->carry.data();
    return reinterpret_cast<int64_t>(new std::shared_ptr<const Plan>(std::move(plan)));
}

/* Output and final states; nothing where a tensor is not what the plan is for. ``after``: the plan of the backward pass, 0 where there
 * is none to come. ``words``: the tokens, whose table is x. */
std::vector<Tensor> segment(int64_t pool_handle, int64_t before, int64_t after, const Tensor &x, at::TensorList tensors,
                            const std::optional<Tensor> &words, bool poison) {
    const auto &pool = behind<std::shared_ptr<Pool>>(pool_handle);
    const std::shared_ptr<const Plan> plan = behind<std::shared_ptr<const Plan>>(before);
    bool fits = tensors.size() == plan->sizes.size() && is_plain(x);
    for (size_t k = 0; k < tensors.size() && fits; k++) fits = tensors[k].numel() == plan->sizes[k] && is_plain(tensors[k]);
    if (!fits) return {};
    std::vector<Tensor> inputs, held, results;
    std::vector<char *> list;
    Tokens tokens;
    Block scratch, saved;
    Tensor memory;
    {
        const at::AutoDispatchBelowADInplaceOrView below;
        inputs.reserve(1 + tensors.size());
        inputs.push_back(x);
        inputs.insert(inputs.end(), tensors.begin(), tensors.end());
        held = inputs;
        for (Tensor &tensor : held)
            if (!tensor.is_contiguous()) tensor = tensor.contiguous();
        memory = empty(plan->result, poison);
        scratch = pool->take(plan->scratch, poison);
        if (plan->saved) saved = pool->take(plan->saved, poison);
        if (words) tokens = {words->const_data_ptr<int64_t>(), x.size(0), x.numel()};
        list.reserve(plan->addresses);
        list.push_back(scratch.at());
        list.push_back(plan->saved ? saved.at() : scratch.at());
        for (const Tensor &tensor : held) list.push_back(address_of(tensor));
        list.push_back(address_of(memory));
        results.push_back(result_of(*plan, memory));
        for (int64_t k = 0; k < plan->states; k++) {
            results.push_back(empty(held[1 + k].sizes(), poison));
            list.push_back(address_of(results.back()));
        }
        run(*plan, list, tokens);
        pool->give(std::move(scratch));
    }
    if (!after) {
        pool->give(std::move(saved));
        return results;
    }
    torch::autograd::edge_list edges;
    auto kept = std::make_shared<Kept>(pool);
    kept->saved = std::move(saved);
    for (const Tensor &tensor : inputs) {
        edges.push_back(torch::autograd::impl::gradient_edge(tensor));
        kept->versions.push_back(tensor._version());
        kept->wanted.push_back(edges.back().is_valid());
    }
    kept->plan = behind<std::shared_ptr<const Plan>>(after);
    kept->addresses.assign(list.begin() + 2, list.begin() + 2 + inputs.size());
    kept->inputs = std::move(inputs);
    kept->held = std::move(held);
    kept->memory = memory.storage();
    kept->memory_address = address_of(memory);
    kept->shape = results[0].sizes().vec();
    kept->words = words.value_or(Tensor());
    kept->tokens = tokens;
    kept->poison = poison;
    auto node = c10::make_intrusive<Segment>();
    node->set_next_edges(std::move(edges));
    node->kept = std::move(kept);
    for (const Tensor &result : results) torch::autograd::impl::set_gradient_edge(result, Edge(node, node->add_input_metadata(result)));
    node->output = SavedVariable(results[0], true);
    return results;
}

LIBRARY(CELLSEARCH_NAME, m) {
    m.def("unusual(int what, int number) -> ()");
    m.def("pool(int kept) -> int", make_pool);
    m.def("free_pool(int handle) -> ()", release<Pool>);
    m.def("plan(int function, int call, int[] numbers, int[] sizes, int[] result, int[] zeroed, int[] folded) -> int", make_plan);
    m.def("free_plan(int handle) -> ()", release<const Plan>);
    m.def("segment(int pool, int before, int after, Tensor x, Tensor[] tensors, Tensor? words, bool poison) -> Tensor[]", segment);
}

} // namespace
