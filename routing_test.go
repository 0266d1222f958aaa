package crayon_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon"
	"crayon/internal/examples"
	"crayon/internal/route/calibrate"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/upstream/fake"
)

// A calibration asks the server once, keeps what it said for the next promise,
// leaves private rows unasked, and goes with the customisation's name.
func TestCalibrate(t *testing.T) {
	model, pool := tiny.Tiny(t)
	far := fake.New(fake.Answer("It is the hat."))
	t.Cleanup(far.Close)
	policy := crayon.DefaultPolicy()
	policy.ScopeUser = -1
	c, err := crayon.Open(t.Context(), crayon.Options{Home: t.TempDir(), Model: model, Pool: pool, Threads: 1, Policy: &policy,
		Servers: []crayon.Server{{URL: far.URL, Model: fake.Model}}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)

	var rows strings.Builder
	rows.WriteString("question,answer\n")
	for i := range 90 {
		fmt.Fprintf(&rows, "what about thing number %d,%s\n", i, custom.Labels[i%3])
	}
	rows.WriteString("write to jane.doe@example.com about the bus,bus\n")
	data := write(t, "rows.csv", rows.String())
	read := func(path string) *crayon.Examples {
		t.Helper()
		set, err := crayon.ReadCalibrationRows(path, custom.Labels...)
		require.NoError(t, err)
		return set
	}
	share := calibrate.Ask{Promise: crayon.PromiseShare, Target: 0.3, Within: 0.3}
	_, err = c.Calibrate(t.Context(), custom, read(data), crayon.CalibrateOptions{Ask: share}, nil)
	require.ErrorIs(t, err, calibrate.ErrNoServer)
	_, err = c.Calibrate(t.Context(), nil, read(data), crayon.CalibrateOptions{Ask: share}, nil)
	require.ErrorContains(t, err, "bare base model")
	require.Empty(t, far.Calls())

	answers := filepath.Join(t.TempDir(), "answers.jsonl")
	cal, err := c.Calibrate(t.Context(), custom, read(data), crayon.CalibrateOptions{Ask: share, AskServer: true, Data: data, Answers: answers}, nil)
	require.NoError(t, err)
	require.Len(t, far.Calls(), 90, "not the private one")
	require.InDelta(t, 1.0/3, cal.Rule.Server, 0.2, "hats are a third")
	require.NotEmpty(t, cal.Digests.Data)

	kept := read(answers)
	require.Equal(t, 90, len(slices.DeleteFunc(slices.Clone(kept.Examples), func(e examples.Example) bool { return e.Server == "" })))
	again, err := c.Calibrate(t.Context(), custom, kept, crayon.CalibrateOptions{Ask: share, Data: answers}, nil)
	require.NoError(t, err)
	require.Len(t, far.Calls(), 90)
	require.Equal(t, cal.Rule, again.Rule, "the same rows give the same rule")

	d, err := c.Decide(t.Context(), custom, []crayon.Turn{{Role: "user", Content: "what about thing number 3"}}, "")
	require.NoError(t, err)
	require.Equal(t, "own", d.Calibrated)
	require.NoError(t, os.WriteFile(answers, []byte("changed"), 0o600))
	status, _, err := c.RouteStatus("", "mine")
	require.NoError(t, err)
	require.Equal(t, []string{"the data"}, status[0].Stale)

	require.NoError(t, c.Rename("mine", "yours"))
	moved, _, err := c.LoadCalibration("yours")
	require.NoError(t, err)
	require.NotNil(t, moved)
	require.NoError(t, c.ForgetCalibration("yours"))
	moved, _, err = c.LoadCalibration("yours")
	require.NoError(t, err)
	require.Nil(t, moved)

	// A server that fails is an error of the row.
	dead := fake.New(fake.Fail(401, 0, "no"))
	defer dead.Close()
	c2, err := crayon.Open(t.Context(), crayon.Options{Home: t.TempDir(), Model: model, Pool: pool, Threads: 1, Policy: &policy, Servers: []crayon.Server{{URL: dead.URL, Model: fake.Model}}})
	require.NoError(t, err)
	defer c2.Close()
	_, err = c2.Calibrate(t.Context(), custom, read(data), crayon.CalibrateOptions{Ask: share, AskServer: true}, nil)
	require.ErrorContains(t, err, "rows.csv:2")
	var told *crayon.Error
	require.True(t, errors.As(err, &told))
}
