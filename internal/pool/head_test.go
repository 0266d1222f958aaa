package pool_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

func head(t testing.TB) (*pool.Pool, []byte) {
	t.Helper()
	_, path := tiny.Tiny(t)
	p, err := pool.Open(path)
	require.NoError(t, err)
	data, err := p.Head()
	require.NoError(t, err)
	return p, data
}

// A head is as good as its pool for all that is not a side.
func TestHeadWeighsAsItsPool(t *testing.T) {
	whole, data := head(t)
	require.Less(t, len(data), whole.Size()/2)
	h, err := pool.ParseHead(data)
	require.NoError(t, err)
	require.Equal(t, whole.Digest(), h.Digest())
	require.NotEmpty(t, h.HeadDigest())
	require.Empty(t, whole.HeadDigest())
	require.Equal(t, whole.Feature, h.Feature)
	require.Equal(t, whole.Members, h.Members)
	require.Equal(t, whole.Prompt, h.Prompt)
	require.Equal(t, whole.Base, h.Base)
	require.Equal(t, whole.Keep, h.Keep)
	require.Equal(t, whole.Made.Licence, h.Made.Licence)
	for _, m := range whole.Members {
		if m.Shared {
			continue
		}
		require.Equal(t, whole.Similarity(m.Indicator), h.Similarity(m.Indicator))
	}
	require.Zero(t, h.Rank())
	require.Empty(t, h.Stack.RowWeights(make([]float32, len(h.Members))))
	require.Zero(t, h.Distance([]float32{1, 0, 0}, []float32{0, 1, 0}), "nothing is known of products")
	again, err := whole.Head()
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, again))
	_, err = h.Head()
	require.Error(t, err, "it is in no file")
}

func TestParseHeadRefuses(t *testing.T) {
	_, data := head(t)
	digest, err := pool.ParseHead(data)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a page":         {[]byte("<html>sign in</html>"), ""},
		"half of it":     {data[:len(data)/2], ""},
		"another type":   {bytes.Replace(data, []byte("crayon-pool-head"), []byte("crayon-pool-tail"), 1), "not the head of a pool"},
		"no digest":      {bytes.Replace(data, []byte(digest.Digest()), []byte(strings.Repeat("z", 64)), 1), "no sha256"},
		"an upper digit": {bytes.Replace(data, []byte(digest.Digest()), []byte(strings.Repeat("A", 64)), 1), "no sha256"},
	} {
		_, err := pool.ParseHead(c.data)
		require.ErrorContains(t, err, c.want, name)
	}
	long := bytes.Clone(data)
	for i := len(long) - 64; i < len(long); i += 4 { // the end of the last indicator: 8 each
		copy(long[i:], []byte{0, 0, 0, 0x41})
	}
	_, err = pool.ParseHead(long)
	require.ErrorContains(t, err, "not 1")
	_, path := tiny.Tiny(t)
	whole, err := pool.Open(path)
	require.NoError(t, err)
	require.NotNil(t, whole)
	_, err = pool.Parse(data)
	require.ErrorContains(t, err, "not a Crayon pool")
}

func FuzzParseHead(f *testing.F) {
	_, data := head(f)
	f.Add(data)
	f.Add(data[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := pool.ParseHead(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, p.Blended())
		p.Similarity(make([]float32, len(p.Feature.Mean)))
	})
}
