/* Stands in for miniaudio, which the module's archive leaves out and Debian has no
 * package of. The server decodes sound with it; no test sends any, and what is sent is
 * refused as unreadable. Own work, no part of miniaudio. */
#pragma once
#include <cstddef>
#include <cstdint>

typedef int ma_result;
typedef uint64_t ma_uint64;
enum { MA_SUCCESS = 0, MA_UNSUPPORTED = -1 };
enum ma_format { ma_format_f32 = 5 };
struct ma_decoder_config { int unused; };
struct ma_decoder { int unused; };

static inline ma_decoder_config ma_decoder_config_init(ma_format, unsigned, unsigned) { return {0}; }
static inline ma_result ma_decoder_init_memory(const void *, size_t, const ma_decoder_config *, ma_decoder *) { return MA_UNSUPPORTED; }
static inline ma_result ma_decoder_get_length_in_pcm_frames(ma_decoder *, ma_uint64 *n) { *n = 0; return MA_UNSUPPORTED; }
static inline ma_result ma_decoder_read_pcm_frames(ma_decoder *, void *, ma_uint64, ma_uint64 *n) { *n = 0; return MA_UNSUPPORTED; }
static inline void ma_decoder_uninit(ma_decoder *) {}
