package ranks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/accel"
	"crayon/internal/model"
	"crayon/internal/reference"
	"crayon/internal/rendezvous"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/train"
)

// processor is an engine that trains on the processor, all of it by itself.
type processor struct {
	accel.Engine
	weights *reference.Weights
	rank    int
	run     func(ctx context.Context, rank int, c train.Config, examples []train.Example) error // before the training
	closed  bool
}

func (p *processor) Open(ctx context.Context, path string, devices int) (accel.Engine, error) {
	m, err := model.Open(path, model.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p.weights, err = reference.Load(m.File(), m.Config)
	return p, err
}

func (p *processor) Train(ctx context.Context, c train.Config, examples []train.Example) (*train.Params, error) {
	if p.run != nil {
		if err := p.run(ctx, p.rank, c, examples); err != nil {
			return nil, err
		}
	}
	return train.Run(ctx, c, p.weights, examples)
}

func (p *processor) Close() error {
	p.closed = true
	return nil
}

type runFunc = func(ctx context.Context, rank int, c train.Config, examples []train.Example) error

// world opens the engines of two ranks.
func world(t *testing.T, run runFunc, same ...string) (leads, follows accel.Engine, errs [2]error, own [2]*processor) {
	t.Helper()
	path, _ := tiny.Tiny(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	l.Close()
	var engines [2]accel.Engine
	var wait sync.WaitGroup
	for rank := range 2 {
		wait.Go(func() {
			own[rank] = &processor{rank: rank, run: run}
			a := New(Options{
				Place:  rendezvous.Place{Rank: rank, World: 2, Address: at},
				Secret: func() ([]byte, error) { return []byte{42}, nil },
				Make: func(p rendezvous.Place, devices int, id []byte) (accel.Accelerator, error) {
					if p.Rank != rank || devices != 3 || !bytes.Equal(id, []byte{42}) {
						return nil, errors.New("made for another")
					}
					return own[rank], nil
				},
				Timeout: 5 * time.Second, Grace: 100 * time.Millisecond,
			})
			if len(same) > 0 {
				a.Same("recipe", same[rank])
			}
			engines[rank], errs[rank] = a.Open(t.Context(), path, 3)
		})
	}
	wait.Wait()
	return engines[0], engines[1], errs, own
}

func someExamples(n int) []train.Example {
	var out []train.Example
	for i := range n {
		out = append(out, train.Example{Prompt: []int32{1, int32(i % 9), 5}, Answers: [][]int32{{int32(i % 7), 2}, {3, 2}}, Weights: []float32{0.25, float32(i)}})
	}
	return out
}

func config(t *testing.T) train.Config {
	folder := t.TempDir()
	return train.Config{Adapters: 2, Rank: 1, StepTokens: 64, Workers: 1, Checkpoint: filepath.Join(folder, "x.checkpoint"), Log: filepath.Join(folder, "x.jsonl"), Progress: func(train.Progress) {}}
}

// follow runs a follower until it ends.
func follow(ctx context.Context, e accel.Engine) chan error {
	ended := make(chan error, 1)
	go func() {
		err := e.(accel.Follower).Follow(ctx)
		ended <- errors.Join(err, e.Close())
	}()
	return ended
}

func TestAllTrainTheLeadersRun(t *testing.T) {
	examples := someExamples(chunkExamples + 5)
	var mu sync.Mutex
	configs := map[int]train.Config{}
	sizes := map[int]int64{}
	leads, follows, errs, own := world(t, func(ctx context.Context, rank int, c train.Config, given []train.Example) error {
		mu.Lock()
		defer mu.Unlock()
		configs[rank] = c
		if info, err := os.Stat(c.Checkpoint); err == nil {
			sizes[rank] = info.Size()
		}
		require.Equal(t, examples, given)
		return nil
	}, "r", "r")
	require.NoError(t, errors.Join(errs[:]...))
	require.Implements(t, (*accel.Follower)(nil), follows)
	_, ok := leads.(accel.Follower)
	require.False(t, ok)
	ended := follow(t.Context(), follows)
	c := config(t)
	p, err := leads.Train(t.Context(), c, examples)
	require.NoError(t, err)
	require.Zero(t, sizes[1], "there was no checkpoint")
	again, err := leads.Train(t.Context(), c, examples) // its checkpoint is whole
	require.NoError(t, err)
	require.Equal(t, p.Values, again.Values)
	require.Positive(t, sizes[0])
	require.Equal(t, sizes[0], sizes[1], "the others begin where the leader's checkpoint ends")
	require.Empty(t, configs[1].Log)
	require.Nil(t, configs[1].Progress)
	require.NotEqual(t, c.Checkpoint, configs[1].Checkpoint)
	require.NoFileExists(t, configs[1].Checkpoint, "it is gone with the run")
	require.NoError(t, leads.Close())
	require.NoError(t, <-ended)
	require.True(t, own[0].closed && own[1].closed)
}

func TestOthersRecipeIsRefused(t *testing.T) {
	_, _, errs, _ := world(t, nil, "a", "b")
	for _, err := range errs {
		require.ErrorContains(t, err, "the recipe of rank 1 is not rank 0's")
	}
}

func TestFailureEndsAll(t *testing.T) {
	for _, rank := range []int{0, 1} {
		leads, follows, errs, _ := world(t, func(ctx context.Context, at int, _ train.Config, _ []train.Example) error {
			if at == rank {
				return errors.New("out of memory")
			}
			<-ctx.Done() // as one that waits for the other's sums
			return ctx.Err()
		})
		require.NoError(t, errors.Join(errs[:]...))
		ended := follow(t.Context(), follows)
		_, err := leads.Train(t.Context(), config(t), someExamples(9))
		require.ErrorContains(t, err, "out of memory")
		require.NoError(t, leads.Close())
		require.ErrorContains(t, <-ended, "out of memory")
	}
}

// An engine that does not notice that the others have gone is left behind.
func TestStuckEngineDoesNotHang(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	leads, follows, errs, own := world(t, func(_ context.Context, at int, _ train.Config, _ []train.Example) error {
		if at == 1 {
			return errors.New("killed")
		}
		<-never
		return nil
	})
	require.NoError(t, errors.Join(errs[:]...))
	ended := follow(t.Context(), follows)
	_, err := leads.Train(t.Context(), config(t), someExamples(9))
	require.ErrorContains(t, err, "rank 1 failed: killed")
	require.NoError(t, leads.Close())
	require.False(t, own[0].closed, "closing it would wait as well")
	require.Error(t, <-ended)
}

func TestLeaderThatEndsEarlyEndsAllWithAnError(t *testing.T) {
	leads, follows, errs, _ := world(t, nil)
	require.NoError(t, errors.Join(errs[:]...))
	ended := follow(t.Context(), follows)
	require.NoError(t, leads.Close())
	require.ErrorContains(t, <-ended, "it ended before it trained")

	leads, follows, errs, _ = world(t, nil)
	require.NoError(t, errors.Join(errs[:]...))
	ctx, cancel := context.WithCancel(t.Context())
	ended = follow(ctx, follows)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	_, err := leads.Train(t.Context(), config(t), someExamples(9))
	require.Error(t, err)
	require.NoError(t, leads.Close())
}

func FuzzJob(f *testing.F) {
	var b bytes.Buffer
	if err := encode(&b, jobHead{Config: train.Config{Rank: 3}, Examples: 2, Checkpoint: -1}, someExamples(2)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		h, examples, err := decode(bufio.NewReader(bytes.NewReader(data)))
		if err == nil && len(examples) != max(0, h.Examples) {
			t.Fatal(h.Examples, len(examples))
		}
	})
}
