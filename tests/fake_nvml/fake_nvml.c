/* A libnvidia-ml.so.1 that answers from a profile: enough of NVML's ABI for nvidia-ml-py and for torch.
 *
 * FAKE_NVML_PROFILE names a text file. Each line is "DEVICE KEY RETURN VALUE..."; DEVICE is "-" for the system.
 *     - driver_version 0 535.104.05
 *     0 name 0 NVIDIA GeForce RTX 4090
 *     0 memory_v1 0 25757220864 25000000000 757220864
 *     1 handle 15
 *     - hang_in 0 nvmlInitWithFlags      (also abort_in, segv_in, print_in, slow_in)
 *     - open_in 0 nvmlInitWithFlags /a/path   (opens the path: a file system that hangs makes the call hang in the kernel)
 *     - lost_after 0 20                  (every call from the 20th on a device answers 15)
 * A key that is not there answers 3 (not supported). Symbols left out with -DOMIT_<symbol> are those that an old
 * driver lacks. Numbers and struct layouts: nvml.h as nvidia-ml-py 13.615.71 declares them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, LOST = 15,
       VERSION_MISMATCH = 25 };
enum { MAX_LINES = 8192, MAX_DEVICES = 64 };

typedef struct { int device, ret; char key[64]; char text[256]; } Line;

static Line lines[MAX_LINES];
static int line_count, loaded, initialised, calls;
static int handles[MAX_DEVICES];

static void load(void) {
    char buffer[512], device[16];
    const char *path = getenv("FAKE_NVML_PROFILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (loaded) return;
    loaded = 1;
    while (file && line_count < MAX_LINES && fgets(buffer, sizeof buffer, file)) {
        Line *line = &lines[line_count];
        int used = 0;
        buffer[strcspn(buffer, "\n")] = 0;
        if (sscanf(buffer, "%15s %63s %d %n", device, line->key, &line->ret, &used) < 3) continue;
        line->device = device[0] == '-' ? -1 : atoi(device);
        snprintf(line->text, sizeof line->text, "%s", buffer + used);
        line_count++;
    }
    if (file) fclose(file);
}

static const Line *find(int device, const char *key) {
    load();
    for (int i = 0; i < line_count; i++)
        if (lines[i].device == device && !strcmp(lines[i].key, key)) return &lines[i];
    return NULL;
}

static int fault(const char *mode, const char *function) {
    const Line *line = find(-1, mode);
    return line && !strcmp(line->text, function);
}

static void enter(const char *function) {
    const Line *opens = find(-1, "open_in");
    size_t length = strlen(function);
    if (opens && !strncmp(opens->text, function, length) && opens->text[length] == ' ')
        close(open(opens->text + length + 1, O_RDONLY));
    if (fault("hang_in", function)) for (;;) pause();
    if (fault("abort_in", function)) abort();
    if (fault("segv_in", function)) *(volatile int *)0 = 0;
    if (fault("slow_in", function)) usleep(300000);
    if (fault("print_in", function)) { printf("{\"error\": {\"name\": \"noise\"}}\n\xff\xfe\n"); fflush(stdout); }
}

static int device_of(void *handle) {
    int device = (int)((int *)handle - handles);
    return handle && device >= 0 && device < MAX_DEVICES ? device : -1;
}

/* The line of a device's key, or the return code to give up with. */
static int lookup(const char *function, void *handle, const char *key, const Line **line) {
    const Line *after = find(-1, "lost_after");
    int device = device_of(handle);
    enter(function);
    if (!initialised) return UNINITIALIZED;
    if (device < 0) return INVALID_ARGUMENT;
    if (after && ++calls > atoi(after->text)) return LOST;
    *line = find(device, key);
    return *line ? (*line)->ret : NOT_SUPPORTED;
}

static int copy_text(const char *text, char *out, u32 size) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return OK;
}

static int system_text(const char *function, const char *key, char *out, u32 size) {
    const Line *line;
    enter(function);
    if (!initialised) return UNINITIALIZED;
    line = find(-1, key);
    if (!line) return NOT_SUPPORTED;
    return line->ret ? line->ret : copy_text(line->text, out, size);
}

static int device_text(const char *function, void *handle, const char *key, char *out, u32 size) {
    const Line *line;
    int ret = lookup(function, handle, key, &line);
    return ret ? ret : copy_text(line->text, out, size);
}

static int device_u64(const char *function, void *handle, const char *key, u64 *out, int count) {
    const Line *line;
    char *end;
    int ret = lookup(function, handle, key, &line);
    const char *at = ret ? "" : line->text;
    if (ret) return ret;
    for (int i = 0; i < count; i++, at = end) out[i] = strtoull(at, &end, 0);
    return OK;
}

static int device_u32(const char *function, void *handle, const char *key, u32 *a, u32 *b) {
    u64 values[2] = {0, 0};
    int ret = device_u64(function, handle, key, values, b ? 2 : 1);
    if (ret) return ret;
    *a = (u32)values[0];
    if (b) *b = (u32)values[1];
    return OK;
}

static int init(const char *function) {
    const Line *line = find(-1, "init");
    enter(function);
    if (line && line->ret) return line->ret;
    initialised++;
    return OK;
}

int nvmlInit(void) { return init("nvmlInit"); }
int nvmlInit_v2(void) { return init("nvmlInit_v2"); }
int nvmlInitWithFlags(u32 flags) { (void)flags; return init("nvmlInitWithFlags"); }
int nvmlShutdown(void) { enter("nvmlShutdown"); if (initialised) initialised--; return OK; }
const char *nvmlErrorString(int code) { (void)code; return "Unknown Error"; }

int nvmlSystemGetDriverVersion(char *out, u32 size) {
    return system_text("nvmlSystemGetDriverVersion", "driver_version", out, size);
}
int nvmlSystemGetNVMLVersion(char *out, u32 size) {
    return system_text("nvmlSystemGetNVMLVersion", "nvml_version", out, size);
}

static int cuda_version(int *out) {
    char text[64];
    int ret = system_text("nvmlSystemGetCudaDriverVersion", "cuda_driver_version", text, sizeof text);
    if (!ret) *out = atoi(text);
    return ret;
}
#ifndef OMIT_nvmlSystemGetCudaDriverVersion
int nvmlSystemGetCudaDriverVersion(int *out) { return cuda_version(out); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { return cuda_version(out); }
#else
int fake_nvml_unused(int *out) { return cuda_version(out); }
#endif

int nvmlDeviceGetCount_v2(u32 *count) {
    const Line *line = find(-1, "count");
    enter("nvmlDeviceGetCount_v2");
    if (!initialised) return UNINITIALIZED;
    *count = line ? (u32)atoi(line->text) : 0;
    return line ? line->ret : OK;
}

int nvmlDeviceGetHandleByIndex_v2(u32 index, void **handle) {
    const Line *line = find((int)index, "handle");
    enter("nvmlDeviceGetHandleByIndex_v2");
    if (!initialised) return UNINITIALIZED;
    if (!line || index >= MAX_DEVICES) return INVALID_ARGUMENT;
    *handle = &handles[index];
    return line->ret;
}

int nvmlDeviceGetName(void *h, char *out, u32 size) { return device_text("nvmlDeviceGetName", h, "name", out, size); }
int nvmlDeviceGetUUID(void *h, char *out, u32 size) { return device_text("nvmlDeviceGetUUID", h, "uuid", out, size); }
int nvmlDeviceGetSerial(void *h, char *out, u32 size) {
    return device_text("nvmlDeviceGetSerial", h, "serial", out, size);
}

typedef struct {
    char legacy[16];
    u32 domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} Pci;

int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    const Line *line;
    int ret = lookup("nvmlDeviceGetPciInfo_v3", handle, "pci", &line);
    if (ret) return ret;
    memset(pci, 0, sizeof *pci);
    sscanf(line->text, "%31s %i %i", pci->bus_id, (int *)&pci->device_id, (int *)&pci->subsystem_id);
    sscanf(pci->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    snprintf(pci->legacy, sizeof pci->legacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff,
             pci->device & 0xff);
    return OK;
}

typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } MemoryV2;

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    return device_u64("nvmlDeviceGetMemoryInfo", handle, "memory_v1", (u64 *)memory, 3);
}
#ifndef OMIT_nvmlDeviceGetMemoryInfo_v2
int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory) {
    if (memory->version != (sizeof *memory | 2u << 24)) return VERSION_MISMATCH;
    return device_u64("nvmlDeviceGetMemoryInfo_v2", handle, "memory_v2", &memory->total, 4);
}
#endif

#ifndef OMIT_nvmlDeviceGetCudaComputeCapability
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    return device_u32("nvmlDeviceGetCudaComputeCapability", handle, "compute_capability", (u32 *)major, (u32 *)minor);
}
#endif
#ifndef OMIT_nvmlDeviceGetMigMode
int nvmlDeviceGetMigMode(void *handle, u32 *current, u32 *pending) {
    return device_u32("nvmlDeviceGetMigMode", handle, "mig_mode", current, pending);
}
#endif
int nvmlDeviceGetEccMode(void *handle, u32 *current, u32 *pending) {
    return device_u32("nvmlDeviceGetEccMode", handle, "ecc_mode", current, pending);
}
int nvmlDeviceGetComputeMode(void *handle, u32 *mode) {
    return device_u32("nvmlDeviceGetComputeMode", handle, "compute_mode", mode, NULL);
}

/* ---- what only the doctor asks */
int nvmlDeviceGetPersistenceMode(void *handle, u32 *mode) {
    return device_u32("nvmlDeviceGetPersistenceMode", handle, "persistence_mode", mode, NULL);
}
int nvmlDeviceGetVirtualizationMode(void *handle, u32 *mode) {
    return device_u32("nvmlDeviceGetVirtualizationMode", handle, "virtualization_mode", mode, NULL);
}
int nvmlDeviceGetTemperature(void *handle, int sensor, u32 *degrees) {
    (void)sensor;
    return device_u32("nvmlDeviceGetTemperature", handle, "temperature", degrees, NULL);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, u64 *mask) {
    return device_u64("nvmlDeviceGetCurrentClocksThrottleReasons", handle, "throttle_reasons", mask, 1);
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, u64 *count) {
    (void)type, (void)counter;
    return device_u64("nvmlDeviceGetTotalEccErrors", handle, "ecc_errors", count, 1);
}
int nvmlDeviceGetRemappedRows(void *handle, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    u64 values[4] = {0, 0, 0, 0};
    int ret = device_u64("nvmlDeviceGetRemappedRows", handle, "remapped_rows", values, 4);
    if (ret) return ret;
    *corrected = (u32)values[0], *uncorrected = (u32)values[1], *pending = (u32)values[2], *failed = (u32)values[3];
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(void *handle, u32 *milliwatts) {
    return device_u32("nvmlDeviceGetEnforcedPowerLimit", handle, "power_limit", milliwatts, NULL);
}
int nvmlDeviceGetCurrPcieLinkGeneration(void *handle, u32 *value) {
    return device_u32("nvmlDeviceGetCurrPcieLinkGeneration", handle, "pcie_gen", value, NULL);
}
int nvmlDeviceGetCurrPcieLinkWidth(void *handle, u32 *value) {
    return device_u32("nvmlDeviceGetCurrPcieLinkWidth", handle, "pcie_width", value, NULL);
}
