package origin

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	require.Empty(t, Commit(), "outside git")
	file := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(file, []byte("1"), 0o600))
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "a"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "a"}, {"tag", "v1"},
	} {
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	clean := Commit()
	require.Regexp(t, `^[0-9a-f]{7,}$`, clean, "a hash, whatever the tags")
	require.NoError(t, os.WriteFile(file, []byte("2"), 0o600))
	require.Equal(t, clean+"-dirty", Commit())
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	require.Equal(t, runtime.NumCPU(), m.Cores)
	require.Equal(t, runtime.GOOS+"/"+runtime.GOARCH, m.System)
}
