package engine

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRemote_StatusError(t *testing.T) {
	r, err := NewRemote("x", "http://user1:pass1@h", RemoteOptions{}, "key1", "ab")
	require.NoError(t, err)
	err = r.StatusError(500, "user1 pass1\nkey1 ab \xff"+strings.Repeat("long ", 1000))
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
