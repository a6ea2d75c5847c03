package engine

import (
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRemote_CheckVectors(t *testing.T) {
	r := NewRemote("x", &url.URL{Host: "h"}, RemoteOptions{})
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	require.NoError(t, r.CheckVectors([][]float32{{0, 1}, {-1, 0}}, 2, 2))
	require.NoError(t, r.CheckVectors(nil, 0, 0))
	for _, bad := range [][][]float32{{{1, nan}}, {{inf, 1}}, {{0, 0}}, {{1}}, {{1, 2}, {1, 2}}, {}} {
		require.ErrorIs(t, r.CheckVectors(bad, 1, 2), ErrModelDown)
	}
}

func TestRemote_StatusError(t *testing.T) {
	r := NewRemote("x", &url.URL{Host: "h", User: url.UserPassword("user1", "pass1")}, RemoteOptions{}, "key1", "ab")
	err := r.StatusError(500, "user1 pass1\nkey1 ab \xff"+strings.Repeat("long ", 1000))
	require.ErrorIs(t, err, ErrModelDown)
	require.Contains(t, err.Error(), "*** *** *** ab long")
	require.Less(t, len(err.Error()), 2*maxErrorText)
	require.ErrorContains(t, r.StatusError(503, ""), "Service Unavailable")
}

func TestRetryAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, " 12 ": 12 * time.Second, "2147483647": math.MaxInt32 * time.Second} {
		d, ok := retryAfter(s)
		require.True(t, ok)
		require.Equal(t, want, d)
	}
	for _, s := range []string{"", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"} {
		_, ok := retryAfter(s)
		require.False(t, ok, s)
	}
}
