package store

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBeside(t *testing.T) {
	c := OpenCustomisations(t.TempDir())
	put := func(text string) string {
		digest, err := c.PutBeside(func(path string) error { return os.WriteFile(path, []byte(text), 0o644) })
		require.NoError(t, err)
		data, err := os.ReadFile(c.Beside(digest))
		require.NoError(t, err)
		require.Equal(t, text, string(data))
		return digest
	}
	age := func(digest string) {
		old := time.Now().Add(-2 * settling)
		require.NoError(t, os.Chtimes(c.Beside(digest), old, old))
	}
	named, older, loose := put("named"), put("named by a version"), put("loose")
	require.Equal(t, named, put("named"))
	require.NoError(t, c.Put("mine", []byte(older)))
	require.NoError(t, c.Put("mine", []byte(`{"private":"`+named+`"}`)))
	put("another")
	require.FileExists(t, c.Beside(loose), "it may be about to be named")
	age(named)
	age(older)
	age(loose)
	put("another")
	require.FileExists(t, c.Beside(named))
	require.FileExists(t, c.Beside(older))
	require.NoFileExists(t, c.Beside(loose))
	names, err := c.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"mine"}, names)

	_, err = c.PutBeside(func(string) error { return errors.New("no room") })
	require.ErrorContains(t, err, "no room")
	files, err := os.ReadDir(c.dir + "/" + besideDir)
	require.NoError(t, err)
	require.Len(t, files, 3, "nothing half written stays")
}
