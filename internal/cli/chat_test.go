package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon"
	"crayon/internal/examples"
	"crayon/internal/testmodel/tiny"
)

// open is a tiny Crayon with a customisation "mine", and an app that writes to
// buffers.
func openTiny(t *testing.T) (*app, *crayon.Crayon, *crayon.Customisation, *bytes.Buffer) {
	t.Helper()
	model, pool := tiny.Tiny(t)
	c, err := crayon.Open(t.Context(), crayon.Options{Home: t.TempDir(), Model: model, Pool: pool, Threads: 1})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	set, err := examples.Parse("mine.csv", strings.NewReader(examples.Template()), examples.Options{})
	require.NoError(t, err)
	custom, err := c.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	out := &bytes.Buffer{}
	return &app{out: out, err: &bytes.Buffer{}}, c, custom, out
}

func TestChatTurns(t *testing.T) {
	a, c, custom, out := openTiny(t)
	talk := &chat{app: a, c: c, custom: custom, bare: c.Session(nil), own: c.Session(custom)}
	talk.o.question.MaxTokens = 4
	said := func(line string) string {
		out.Reset()
		require.NoError(t, talk.turn(t.Context(), line))
		return out.String()
	}
	require.ErrorContains(t, talk.turn(t.Context(), "/why"), "nothing was answered yet")
	require.Contains(t, custom.Labels, strings.TrimSpace(said("where is my parcel?")))
	require.Contains(t, said("/why"), "in-scope")
	require.Equal(t, "mine> ", talk.prompt())
	said("/compare")
	require.Equal(t, "mine | base> ", talk.prompt())
	require.Contains(t, said("where is it?"), "| mine")
	said("/base")
	require.Equal(t, "base> ", talk.prompt())
	said("and who are you?")
	require.Equal(t, 4, talk.bare.Turns(), "a question compared and one asked of the base model")
	require.Zero(t, talk.own.Turns(), "under labels each question stands alone")
	said("/clear")
	require.Zero(t, talk.bare.Turns())
	require.Contains(t, said("/help"), "/compare")
	require.ErrorContains(t, talk.turn(t.Context(), "/compair"), "did you mean /compare")
	require.ErrorIs(t, talk.turn(t.Context(), "/quit"), errQuit)
}

func TestChatStopsAnAnswer(t *testing.T) {
	a, c, custom, _ := openTiny(t)
	talk := &chat{app: a, c: c, custom: custom, bare: c.Session(nil), own: c.Session(custom)}
	talk.o.base = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, talk.turn(ctx, "tell me everything"), "stopped")
	require.Zero(t, talk.bare.Turns())
}

func TestChatHistory(t *testing.T) {
	a := &app{err: &bytes.Buffer{}}
	path := filepath.Join(t.TempDir(), "new", "history")
	talk := &chat{app: a, history: path}
	require.Empty(t, talk.readHistory())
	for range historyLines + 10 {
		talk.keep("one more")
	}
	talk.keep("last")
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	lines := talk.readHistory()
	require.Len(t, lines, historyLines)
	require.Equal(t, "last", lines[len(lines)-1])
	require.Len(t, talk.readHistory(), historyLines, "trimmed on disk too")
}

func TestInterruptLeavesNothingHalf(t *testing.T) {
	model, pool := tiny.Tiny(t)
	home := t.TempDir()
	file := filepath.Join(t.TempDir(), "mine.csv")
	require.NoError(t, os.WriteFile(file, []byte(examples.Template()), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := &bytes.Buffer{}
	a := &app{out: &bytes.Buffer{}, err: errs}
	root := a.rootCommand()
	root.SetArgs([]string{"customize", "mine", "-f", file, "--home", home, "--model", model, "--pool", pool})
	require.Equal(t, 1, a.finish(ctx, root.ExecuteContext(ctx)))
	require.Equal(t, "crayon: interrupted\n", errs.String())
	require.NoDirExists(t, filepath.Join(home, "customisations"))
	require.NoError(t, filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		require.NotContains(t, path, ".tmp-")
		return err
	}))
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no room") }

func TestUnwrittenOutputIsAnError(t *testing.T) {
	a := &app{out: brokenWriter{}, json: true}
	require.ErrorContains(t, a.emit(map[string]int{"x": 1}, nil), "no room")
}
