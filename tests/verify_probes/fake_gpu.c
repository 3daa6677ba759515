/* The calls of libcuda and libnvidia-ml that the probe makes through ctypes, with the C types of cuda.h and nvml.h.
 * Built twice, as libcuda.so.1 and as libnvidia-ml.so.1. FAKE_CU is what cuInit returns; FAKE_OLD hides what old
 * drivers do not have. One card: 0000:3b:00.0. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Return;
typedef struct Card *Device;
typedef struct Sample *Gpm;
struct Card { int number; };
struct Sample { int taken; };
static struct Card card = {7};
static int live, order;

static int number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }

Return cuInit(unsigned flags) { return flags ? 1 : number("FAKE_CU"); }
Return cuDriverGetVersion(int *version) { *version = 12020; return 0; }
Return cuDeviceGet(int *device, int ordinal) { *device = 40 + ordinal; return ordinal ? 101 : 0; }
Return cuDeviceGetPCIBusId(char *text, int size, int device) {
    if (device != 40 || size < 13) return 1;
    strcpy(text, "0000:3B:00.0");
    return 0;
}
Return cuDeviceGetUuid(unsigned char *uuid, int device) {
    for (int i = 0; i < 16; i++) uuid[i] = (unsigned char)(i * 17);
    return device == 40 ? 0 : 1;
}
Return cuGetErrorName(int code, const char **text) {
    *text = code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN";
    return 0;
}

Return nvmlInit_v2(void) { live = 1; return 0; }
Return nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Device *device) {
    if (!live) return 1;
    *device = &card;
    return strcmp(bus, "0000:3b:00.0") ? 6 : 0;
}
#define CHECK if (device != &card) return 2
Return nvmlDeviceGetPowerUsage(Device device, unsigned *v) { CHECK; *v = 71500; return 0; }
Return nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *v) { CHECK; *v = 72000; return 0; }
Return nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *v) { CHECK; *v = 0x44ULL; return 0; }
Return nvmlDeviceGetClockInfo(Device device, int type, unsigned *v) { CHECK; *v = type == 1 ? 1500 : 6251; return 0; }
Return nvmlDeviceGetMaxClockInfo(Device device, int type, unsigned *v) { CHECK; *v = type == 1 ? 2040 : 6251; return 0; }
Return nvmlDeviceGetTemperature(Device device, int sensor, unsigned *v) { CHECK; *v = sensor ? 0 : 61; return 0; }
Return nvmlDeviceGetCurrPcieLinkGeneration(Device device, unsigned *v) { CHECK; *v = 3; return 0; }
Return nvmlDeviceGetCurrPcieLinkWidth(Device device, unsigned *v) { CHECK; *v = 8; return 0; }
Return nvmlDeviceGetMaxPcieLinkGeneration(Device device, unsigned *v) { CHECK; *v = 4; return 0; }
Return nvmlDeviceGetMaxPcieLinkWidth(Device device, unsigned *v) { CHECK; *v = 16; return 0; }
Return nvmlDeviceGetTotalEccErrors(Device device, int kind, int counter, unsigned long long *v) {
    CHECK;
    *v = kind == 1 ? 5000000000ULL : 2ULL;
    return counter ? 3 : 0;
}
Return nvmlDeviceGetRemappedRows(Device device, unsigned *c, unsigned *u, unsigned *pending, unsigned *failed) {
    CHECK;
    *c = 1; *u = 2; *pending = 1; *failed = 0;
    return 0;
}
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } Process;
Return nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, Process *found) {
    CHECK;
    if (number("FAKE_OLD")) return 13;
    if (*count < 3) return 7;
    Process all[3] = {{4711, 1ULL << 33, 0xFFFFFFFF, 0xFFFFFFFF}, {(unsigned)getpid(), 1, 0, 0}, {4712, 2, 0, 0}};
    memcpy(found, all, sizeof all);
    *count = 3;
    return 0;
}
typedef struct { unsigned version, supported; } Support;
Return nvmlGpmQueryDeviceSupport(Device device, Support *s) {
    CHECK;
    if (s->version != 1) return 25;
    s->supported = !number("FAKE_OLD");
    return 0;
}
Return nvmlGpmSampleAlloc(Gpm *sample) { *sample = calloc(1, sizeof **sample); return 0; }
Return nvmlGpmSampleFree(Gpm sample) { free(sample); return 0; }
Return nvmlGpmSampleGet(Device device, Gpm sample) { CHECK; sample->taken = ++order; return 0; }
typedef struct {
    unsigned id;
    Return status;
    double value;
    struct { char *short_name, *long_name, *unit; } info;
} Metric;
typedef struct { unsigned version, count; Gpm first, second; Metric metrics[333]; } Get;
Return nvmlGpmMetricsGet(Get *get) {
    if (get->version != 1 || get->count != 2 || get->first->taken + 1 != get->second->taken) return 2;
    for (unsigned i = 0; i < get->count; i++) {
        get->metrics[i].status = 0;
        get->metrics[i].value = get->metrics[i].id == 5 ? 61.5 : get->metrics[i].id == 7 ? 60.25 : 999.0;
    }
    return 0;
}
