// Prints the shape of every function in hooks.def: sizes of result and parameters, and of what they point to.
// Compiled twice, with our headers and with NVIDIA's, the two outputs must be the same where both know a function.
//   make -C native check-prototypes CUDA_INCLUDE=DIR
#include <cstdio>
#include <type_traits>

#ifdef THEIRS
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <nvml.h>
#else
extern "C" {
#define _Static_assert static_assert
#include "../../include/cudaapi.h"
#include "../../include/nvmlapi.h"
}
#endif

template <class T> struct pointed {
    static unsigned size() { return 0; }
};
template <class T> struct pointed<T *> {
    static unsigned size()
    {
        if constexpr (std::is_void_v<T> || std::is_function_v<T>)
            return 1;
        else if constexpr (requires { sizeof(T); })
            return sizeof(T);
        else
            return 0;
    }
};

template <class T> void one() { std::printf(" %u>%u", (unsigned)sizeof(T), pointed<T>::size()); }

template <class R, class... P> void shape(const char *name, R (*)(P...))
{
    std::printf("%s:", name);
    one<R>();
    (one<P>(), ...);
    std::printf("\n");
}

// Functions that only one side knows are left out by the list that the Makefile passes.
int main()
{
#define KNOWN(name) shape(#name, &name);
#include KNOWN_LIST
}
