// A device guard for CUDA that does nothing: with it, a PyTorch built for the CPU runs autograd on FakeTensors whose
// device says "cuda". There are two devices, so that a wrong index shows.
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/GeneratorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

thread_local c10::DeviceIndex current = 0;

struct Guard final : public c10::impl::DeviceGuardImplInterface {
    c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
    c10::Device getDevice() const override { return c10::Device(c10::DeviceType::CUDA, current); }
    void setDevice(c10::Device device) const override { current = device.index(); }
    void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
    c10::Device exchangeDevice(c10::Device device) const override {
        const auto before = getDevice();
        current = device.index();
        return before;
    }
    c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
    c10::Stream getNewStream(c10::Device device, int) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
    c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
    c10::DeviceIndex deviceCount() const noexcept override { return 2; }
    void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
    void block(void*, const c10::Stream&) const override {}
    bool queryEvent(void*) const override { return true; }
    void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
    bool queryStream(const c10::Stream&) const override { return true; }
    void synchronizeStream(const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

// A generator that has a device and a seed, and no numbers: FakeTensors need none.
struct Generator final : public c10::GeneratorImpl {
    explicit Generator(c10::DeviceIndex index)
        : c10::GeneratorImpl({c10::DeviceType::CUDA, index < 0 ? current : index},
                             c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
    void set_current_seed(uint64_t value) override { seed_ = value; }
    void set_offset(uint64_t) override {}
    uint64_t get_offset() const override { return 0; }
    uint64_t current_seed() const override { return seed_; }
    uint64_t seed() override { return seed_; }
    void set_state(const c10::TensorImpl&) override {}
    c10::intrusive_ptr<c10::TensorImpl> get_state() const override { TORCH_CHECK(false, "there is no state"); }
    Generator* clone_impl() const override { return new Generator(device().index()); }
    uint64_t seed_ = 0;
};

struct Hooks : public at::CUDAHooksInterface {
    explicit Hooks(at::CUDAHooksArgs = {}) {}
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    void init() const override {}
    bool hasCUDA() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    int getNumGPUs() const override { return 2; }
    c10::DeviceIndex deviceCount() const override { return 2; }
    c10::DeviceIndex current_device() const override { return current; }
    c10::DeviceIndex getCurrentDevice() const override { return current; }
    void setCurrentDevice(c10::DeviceIndex device) const override { current = device; }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
        const auto before = current;
        current = device;
        return before;
    }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override { return exchangeDevice(device); }
    at::Generator getNewGenerator(c10::DeviceIndex index) const override { return at::make_generator<Generator>(index); }
    const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
        static const at::Generator generator = at::make_generator<Generator>(0);
        return generator;
    }
    void deviceSynchronize(c10::DeviceIndex) const override {}
};

}  // namespace

namespace at {
using CUDAHooks = Hooks;  // the registry looks for this name
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at
