package engine

import (
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
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

// An answer that does not end is cut off.
func TestRemote_MaxAnswer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, err := w.Write(make([]byte, 1000)); err == nil && r.URL.Path == "/endless"; {
			_, err = w.Write(make([]byte, 1000))
		}
	}))
	defer srv.Close()
	r, err := NewRemote("x", srv.URL, RemoteOptions{MaxAnswer: 1000})
	require.NoError(t, err)
	for path, want := range map[string]error{"/": nil, "/endless": errLong} {
		resp, err := r.Client().Get(srv.URL + path)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, want)
		require.LessOrEqual(t, len(b), 64<<10)
		require.NoError(t, resp.Body.Close())
	}
	err = r.Error(context.Background(), errLong)
	require.ErrorIs(t, err, ErrModelDown)
	require.ErrorContains(t, err, "more than 1000 bytes")
}

// A request has so many texts, and so many bytes, at the most. Where the server takes
// fewer it is asked for halves until it takes them, and for no more than these from then on; a
// text that it does not take at all is the caller's fault and changes nothing.
func TestRemote_Batches(t *testing.T) {
	r, err := NewRemote("x", "http://h", RemoteOptions{})
	require.NoError(t, err)
	var asked []int
	most := 100
	e := r.Embedder(EmbedderOptions{Model: "m", Batch: 8, Request: func(_ context.Context, texts []string) (out [][]float32, _ int, _ error) {
		asked = append(asked, len(texts))
		if len(texts) > most || slices.Contains(texts, "bad") {
			return nil, 0, ErrModelRefused
		}
		for _, s := range texts {
			out = append(out, []float32{float32(len(s))})
		}
		return out, 0, nil
	}})
	embed := func(texts ...string) ([]int, error) {
		asked = nil
		v, err := e.Embed(context.Background(), texts)
		if err == nil {
			require.Len(t, v, len(texts))
			for i, s := range texts {
				require.Equal(t, []float32{float32(len(s))}, v[i])
			}
		}
		return asked, err
	}
	words := strings.Fields(strings.Repeat("a bb ccc dddd ", 5))
	long := strings.Repeat("x", maxEmbedBytes/3+1)
	for _, c := range []struct {
		texts []string
		most  int
		asked []int
		err   error
	}{
		{words, 8, []int{8, 8, 4}, nil},
		{[]string{long, long, long, "a", long}, 8, []int{2, 3}, nil},
		{[]string{long + long + long + long, "a"}, 8, []int{1, 1}, nil},
		{[]string{"a", "b", "bad"}, 8, []int{3, 1, 2, 1, 1}, ErrModelRefused},
		{[]string{"bad", "a", "b"}, 8, []int{3, 1}, ErrModelRefused},
		{words[:8], 8, []int{8}, nil},
		{words, 5, []int{8, 4, 4, 4, 4, 4}, nil},
		{words, 5, []int{4, 4, 4, 4, 4}, nil},
		{words[:5], 1, []int{4, 2, 1, 1, 2, 1, 1, 1}, nil},
		{words[:3], 1, []int{1, 1, 1}, nil},
		{words[:3], 0, []int{1}, ErrModelRefused},
	} {
		most = c.most
		got, err := embed(c.texts...)
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.asked, got)
	}
}
