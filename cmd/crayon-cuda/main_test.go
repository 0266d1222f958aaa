//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
	"crayon/test/softcuda"
)

const asProgram = "CRAYON_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// stage is a model, data and a recipe for small trainings.
type stage struct{ model, data, recipe, out string }

func newStage(t *testing.T) stage {
	t.Helper()
	softcuda.Use(t)
	folder := t.TempDir()
	model, _ := tiny.Tiny(t)
	s := stage{model, filepath.Join(folder, "rows.jsonl"), filepath.Join(folder, "recipe.yaml"), folder}
	var b bytes.Buffer
	for i := range 24 {
		require.NoError(t, json.NewEncoder(&b).Encode(map[string]any{
			"question": fmt.Sprintf("where does the %d live", i), "choices": []string{"ant", "bee", "cat", fmt.Sprint("dog ", i)}, "answer": i % 4,
		}))
	}
	require.NoError(t, os.WriteFile(s.data, b.Bytes(), 0o600))
	require.NoError(t, os.WriteFile(s.recipe, []byte(`
name: small
adapters: 2
rank: 1
shared_rank: 1
keep: 1
feature_layer: 1
step_tokens: 512
micro_tokens: 128
max_tokens: 160
answers: 3
store: F32
licence: CC0-1.0
rows: {seed: 3}
`), 0o600))
	return s
}

// train is the command that trains to the file out, as a process. What is given
// beside are flags and variables.
func (s stage) train(t *testing.T, out string, given ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "pool", "train", filepath.Join(s.out, out), "--data", s.data, "--recipe", s.recipe, "--model", s.model, "--home", s.out, "--threads", "1")
	c.Env = append(os.Environ(), asProgram+"=1")
	for _, x := range given {
		if strings.HasPrefix(x, "--") {
			c.Args = append(c.Args, x)
		} else {
			c.Env = append(c.Env, x)
		}
	}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	return c, &said
}

func (s stage) pool(t *testing.T, name string) *pool.Pool {
	t.Helper()
	p, err := pool.Open(filepath.Join(s.out, name))
	require.NoError(t, err)
	return p
}

// near says that two pools are the same up to the rounding of bfloat16.
func near(t *testing.T, a, b *pool.Pool) {
	t.Helper()
	require.Equal(t, a.Made.Steps, b.Made.Steps)
	require.InEpsilon(t, a.Made.Loss, b.Made.Loss, 0.005)
}

// places are the variables of a process's place.
func places(t *testing.T) func(rank int) []string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return func(rank int) []string {
		return []string{"WORLD_SIZE=2", fmt.Sprint("RANK=", rank), fmt.Sprint("LOCAL_RANK=", rank), "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port, "SOFTCUDA_DEVICES=2", "--device=cuda"}
	}
}

func TestProcessesTrainWhatOneTrains(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		out   string
		given []string
	}{{"cpu.crayon", nil}, {"one.crayon", []string{"--device=cuda"}}, {"two.crayon", []string{"--device=cuda:2", "SOFTCUDA_DEVICES=2"}}} {
		c, said := s.train(t, c.out, c.given...)
		require.NoError(t, c.Run(), "%s", said)
	}
	near(t, s.pool(t, "cpu.crayon"), s.pool(t, "one.crayon"))
	near(t, s.pool(t, "one.crayon"), s.pool(t, "two.crayon"))
	require.Contains(t, s.pool(t, "two.crayon").Made.Device, "soft CUDA x 2, CPU")

	given := places(t)
	lead, said := s.train(t, "ranks.crayon", given(0)...)
	require.NoError(t, lead.Start())
	other, more := s.train(t, "ranks.crayon", given(1)...)
	other.Dir = t.TempDir()
	require.NoError(t, other.Run(), "%s", more)
	require.NoError(t, lead.Wait(), "%s", said)
	require.Empty(t, more.String(), "the others say nothing")
	// Over processes or threads, the same sums are taken.
	two, both := s.pool(t, "two.crayon"), s.pool(t, "ranks.crayon")
	require.Equal(t, two.Stack.InMemory(), both.Stack.InMemory())
}

// The benchmark scores on the GPU what it scores on the processor.
func TestBenchmarkScoresTheSame(t *testing.T) {
	s := newStage(t)
	_, tinyPool := tiny.Tiny(t)
	data := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(data, "animals"), 0o700))
	for _, split := range []string{"train", "test"} {
		f, err := os.Create(filepath.Join(data, "animals", split+".jsonl.gz"))
		require.NoError(t, err)
		z := gzip.NewWriter(f)
		for i := range 90 {
			require.NoError(t, json.NewEncoder(z).Encode(map[string]any{
				"dataset": "animals", "id": fmt.Sprint(split, i), "question": fmt.Sprintf("%s %d lives where", split, i), "choices": []string{"ant", "bee", "cat"}, "answer": i % 3,
			}))
		}
		require.NoError(t, errors.Join(z.Close(), f.Close()))
	}
	accuracies := func(given ...string) (string, map[string]any) {
		args := append([]string{"bench", "customize", "--data", data, "--pool", tinyPool, "--model", s.model, "--home", s.out, "--json",
			"--rows", "6", "--shots", "4", "--seeds", "1", "--resamples", "100", "--strategies", "base,uniform,blend"}, given...)
		c := exec.CommandContext(t.Context(), os.Args[0], args...)
		c.Env = append(os.Environ(), asProgram+"=1")
		var said bytes.Buffer
		c.Stderr = &said
		out, err := c.Output()
		require.NoError(t, err, "%s", &said)
		var report struct {
			Environment struct{ Device string }
			Macro       map[string]any
		}
		require.NoError(t, json.Unmarshal(out, &report))
		require.Contains(t, report.Macro, "blend")
		return report.Environment.Device, report.Macro
	}
	device, want := accuracies()
	require.Empty(t, device)
	device, got := accuracies("--device", "cuda")
	require.Equal(t, "soft CUDA", device)
	require.Equal(t, want, got)
}

func TestProcessThatIsKilledEndsAll(t *testing.T) {
	s := newStage(t)
	given := places(t)
	lead, said := s.train(t, "lead.crayon", given(0)...)
	other, _ := s.train(t, "lead.crayon", given(1)...)
	require.NoError(t, lead.Start())
	require.NoError(t, other.Start())
	ended := make(chan error, 1)
	go func() { ended <- lead.Wait() }()
	log := filepath.Join(s.out, "lead.jsonl")
	require.Eventually(t, func() bool { b, _ := os.ReadFile(log); return len(b) > 0 }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, other.Process.Kill())
	other.Wait()
	select {
	case err := <-ended:
		require.Error(t, err)
		require.Contains(t, said.String(), "rank 1 has gone")
	case <-time.After(30 * time.Second):
		lead.Process.Kill()
		t.Fatal("rank 0 waits for a process that has gone")
	}
	require.NoFileExists(t, filepath.Join(s.out, "lead.crayon"))
}

func TestOthersRecipeIsRefused(t *testing.T) {
	s := newStage(t)
	given := places(t)
	lead, said := s.train(t, "lead.crayon", given(0)...)
	require.NoError(t, lead.Start())
	recipe, err := os.ReadFile(s.recipe)
	require.NoError(t, err)
	s.recipe += ".other"
	require.NoError(t, os.WriteFile(s.recipe, append(recipe, "epochs: 2\n"...), 0o600))
	other, more := s.train(t, "lead.crayon", given(1)...)
	require.Error(t, other.Run())
	require.Error(t, lead.Wait())
	require.Equal(t, 3, lead.ProcessState.ExitCode())
	for _, text := range []string{said.String(), more.String()} {
		require.Contains(t, text, "the recipe of rank 1 is not rank 0's")
	}
}

func TestWrongPlaceIsNamed(t *testing.T) {
	s := newStage(t)
	c, said := s.train(t, "x.crayon", "--device=cuda", "WORLD_SIZE=two")
	require.Error(t, c.Run())
	require.Contains(t, said.String(), `WORLD_SIZE is "two"`)
	c, said = s.train(t, "x.crayon", "--device=cuda", "WORLD_SIZE=2", "RANK=1", "MASTER_ADDR=192.0.2.1", "--local-only")
	require.Error(t, c.Run())
	require.Equal(t, 4, c.ProcessState.ExitCode())
	require.Contains(t, said.String(), "--local-only lets nothing leave this machine")
	c, said = s.train(t, "x.crayon", "--device=cuda:2")
	require.Error(t, c.Run())
	require.Contains(t, said.String(), "open GPU 1: there are 1")
}
