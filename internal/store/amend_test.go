package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAmend(t *testing.T) {
	c := OpenCustomisations(t.TempDir())
	require.Error(t, c.Amend("mine", nil, []byte("b")), "nothing to amend")
	require.NoError(t, c.Put("mine", []byte("a")))
	require.NoError(t, c.Amend("mine", []byte("a"), []byte("ab")))
	got, err := c.Get("mine")
	require.NoError(t, err)
	require.Equal(t, "ab", string(got))
	versions, err := c.Versions("mine")
	require.NoError(t, err)
	require.Empty(t, versions)
	require.ErrorIs(t, c.Amend("mine", []byte("a"), []byte("z")), ErrChanged)
	got, err = c.Get("mine")
	require.NoError(t, err)
	require.Equal(t, "ab", string(got))
}
