package record

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

func entry(i int) *Entry {
	v := signal.None()
	v[0] = float64(i)
	return &Entry{Kind: Decided, Time: time.Unix(int64(i), 0).UTC(), Name: "mine", Digest: fmt.Sprint(i), Route: "device", Signals: v}
}

func entries(t *testing.T, f *Folder) (all []Entry, damaged int) {
	t.Helper()
	damaged, err := f.Entries(func(e *Entry) error { all = append(all, *e); return nil })
	require.NoError(t, err)
	return all, damaged
}

// Lines of several writers are whole, and what a crash cut off costs itself alone.
func TestLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "routing")
	a, b := Open(dir), Open(dir) // as two processes
	none, _ := entries(t, a)
	require.Empty(t, none)
	var wait sync.WaitGroup
	for i := range 40 {
		f := a
		if i%2 == 0 {
			f = b
		}
		wait.Go(func() {
			if err := f.Append(entry(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	info, err := os.Stat(a.LogPath())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	f, err := os.OpenFile(a.LogPath(), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"kind":"deci` + "\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, a.Append(entry(99)))
	all, damaged := entries(t, b)
	require.Len(t, all, 41)
	require.Equal(t, 1, damaged)
	require.Equal(t, 99.0, all[40].Row().Signals[0])
	_, err = ReadLog(filepath.Join(dir, "none"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A full log becomes the older one, and the one before that goes.
func TestLogIsBounded(t *testing.T) {
	f := Open(t.TempDir())
	long := entry(0)
	long.Query = strings.Repeat("x", mostLine-2000)
	for i := range 30 {
		long.Digest = fmt.Sprint(i)
		require.NoError(t, f.Append(long))
	}
	var size int64
	files, err := os.ReadDir(f.Dir())
	require.NoError(t, err)
	for _, x := range files {
		info, err := x.Info()
		require.NoError(t, err)
		size += info.Size()
	}
	require.LessOrEqual(t, size, int64(2*(mostLog+mostLine)))
	all, damaged := entries(t, f)
	require.Zero(t, damaged)
	require.Equal(t, "29", all[len(all)-1].Digest)
	require.Less(t, len(all), 30)
	for i := 1; i < len(all); i++ {
		require.Equal(t, fmt.Sprint(30-len(all)+i), all[i].Digest, "the newest, in order")
	}
	long.Query = strings.Repeat("x", mostLine)
	require.Error(t, f.Append(long))
}

func TestCandidates(t *testing.T) {
	f := Open(t.TempDir())
	kept, err := f.AddCandidate("mine", Candidate{Question: "a?", Answer: "b"})
	require.NoError(t, err)
	require.True(t, kept)
	for _, c := range []Candidate{{Question: "a?", Answer: "other"}, {Answer: "b"}, {Question: "c"}, {Question: strings.Repeat("x", mostCandidateBytes), Answer: "b"}} {
		kept, err := f.AddCandidate("mine", c)
		require.NoError(t, err)
		require.False(t, kept)
	}
	full := make([]Candidate, mostCandidates)
	for i := range full {
		full[i] = Candidate{Question: fmt.Sprint(i), Answer: "\x01"}
	}
	require.NoError(t, f.PutCandidates("many", full))
	for i := range 5 {
		_, err := f.AddCandidate("many", Candidate{Question: fmt.Sprint("new ", i), Answer: "b"})
		require.NoError(t, err)
	}
	many, err := f.Candidates("many")
	require.NoError(t, err)
	require.Len(t, many, mostCandidates)
	require.Equal(t, "5", many[0].Question)
	require.NoError(t, f.Rename("mine", "yours"))
	mine, err := f.Candidates("mine")
	require.NoError(t, err)
	require.Empty(t, mine)
	yours, err := f.Candidates("yours")
	require.NoError(t, err)
	require.Equal(t, []Candidate{{Question: "a?", Answer: "b"}}, yours)
	require.NoError(t, os.WriteFile(f.CandidatesPath("bad"), []byte("{"), 0o600))
	_, err = f.Candidates("bad")
	require.ErrorContains(t, err, "bad.candidates.jsonl:1")
}

func TestCalibrationIsKept(t *testing.T) {
	f := Open(filepath.Join(t.TempDir(), "deep", "er"))
	c, id, err := f.Calibration("mine")
	require.NoError(t, err)
	require.Nil(t, c)
	require.Empty(t, id)
	m := &calibrate.Model{Curve: calibrate.Curve{A: 1}, Logistic: &calibrate.Logistic{}}
	require.NoError(t, f.PutCalibration("mine", &calibrate.Calibration{Version: calibrate.Version, Device: m, Assumed: 0.5}))
	c, id, err = f.Calibration("mine")
	require.NoError(t, err)
	require.Equal(t, 0.5, c.Assumed)
	require.NotEmpty(t, id)
	require.NoError(t, f.Rename("mine", "yours"))
	_, same, err := f.Calibration("yours")
	require.NoError(t, err)
	require.Equal(t, id, same)
	require.NoError(t, f.RemoveCalibration("yours"))
	require.NoError(t, f.RemoveCalibration("yours"))
	require.NoError(t, os.WriteFile(f.CalibrationPath("mine"), []byte("{"), 0o600))
	_, _, err = f.Calibration("mine")
	require.Error(t, err)
	require.Equal(t, filepath.Join(f.Dir(), "x.calibration.json"), f.CalibrationPath("../x"))
}
