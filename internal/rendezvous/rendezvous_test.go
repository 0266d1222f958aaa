package rendezvous

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

func TestPlaceFromEnvironment(t *testing.T) {
	for _, c := range []struct {
		env  string
		want Place
		err  string
	}{
		{"", Place{World: 1}, ""},
		{"WORLD_SIZE=1 RANK=7", Place{World: 1}, ""},
		{"WORLD_SIZE=4 RANK=3 LOCAL_RANK=1 MASTER_ADDR=node-1 MASTER_PORT=400", Place{3, 4, 1, "node-1:400"}, ""},
		{"WORLD_SIZE=2 RANK=1 MASTER_ADDR=::1", Place{1, 2, 0, "[::1]:29500"}, ""},
		{"WORLD_SIZE=2 JOB_COMPLETION_INDEX=1 MASTER_ADDR=train-0.train", Place{1, 2, 0, "train-0.train:29500"}, ""},
		{"SLURM_NTASKS=8 SLURM_PROCID=5 SLURM_LOCALID=1 MASTER_ADDR=n1", Place{5, 8, 1, "n1:29500"}, ""},
		{"SLURM_NTASKS=8 SLURM_PROCID=5", Place{World: 1}, ""}, // eight tasks that are not about each other
		{"WORLD_SIZE=2 RANK=0 MASTER_ADDR=a SLURM_NTASKS=8 SLURM_PROCID=5", Place{0, 2, 0, "a:29500"}, ""},
		{"WORLD_SIZE=two", Place{}, `WORLD_SIZE is "two"`},
		{"WORLD_SIZE=0", Place{}, "WORLD_SIZE must be 1 to 4096"},
		{"WORLD_SIZE=5000", Place{}, "no number from 0 to 4096"},
		{"WORLD_SIZE=2 MASTER_ADDR=a", Place{}, `RANK is ""`},
		{"WORLD_SIZE=2 RANK=2 MASTER_ADDR=a", Place{}, `RANK is "2", no number from 0 to 1`},
		{"WORLD_SIZE=2 RANK=-1 MASTER_ADDR=a", Place{}, `RANK is "-1"`},
		{"WORLD_SIZE=2 RANK=1 LOCAL_RANK=x MASTER_ADDR=a", Place{}, `LOCAL_RANK is "x"`},
		{"WORLD_SIZE=2 RANK=1", Place{}, "MASTER_ADDR names no host"},
		{"WORLD_SIZE=2 RANK=1 MASTER_ADDR=a MASTER_PORT=99999", Place{}, `MASTER_PORT is "99999"`},
		{"SLURM_NTASKS=8 MASTER_ADDR=n1", Place{}, `SLURM_PROCID is ""`},
	} {
		env := map[string]string{}
		for _, x := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(x, "=")
			env[name] = value
		}
		p, err := FromEnvironment(func(name string) string { return env[name] })
		require.Equal(t, c.want, p, c.env)
		if c.err == "" {
			require.NoError(t, err, c.env)
			continue
		}
		require.ErrorContains(t, err, c.err)
		require.NotEmpty(t, fault.Hint(err))
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
}

// address is one where nobody listens.
func address(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// meet has all ranks join at once; options may change each one's.
func meet(t *testing.T, at string, world int, options func(rank int) Options) ([]*Group, []error) {
	t.Helper()
	groups, errs := make([]*Group, world), make([]error, world)
	var wait sync.WaitGroup
	for rank := range world {
		wait.Go(func() {
			o := Options{Secret: func() ([]byte, error) { return []byte("secret"), nil }, Timeout: 5 * time.Second}
			if options != nil {
				o = options(rank)
			}
			groups[rank], errs[rank] = Join(t.Context(), Place{Rank: rank, World: world, Address: at}, o)
		})
	}
	wait.Wait()
	return groups, errs
}

func joined(t *testing.T, world int) []*Group {
	t.Helper()
	groups, errs := meet(t, address(t), world, nil)
	for i := range errs {
		require.NoError(t, errs[i])
		t.Cleanup(func() { groups[i].Close(nil) })
	}
	return groups
}

func TestWorkIsGivenAndDone(t *testing.T) {
	groups := joined(t, 4)
	text := strings.Repeat("what is to be done. ", 100_000)
	var wait sync.WaitGroup
	took := make([]string, 4)
	for _, g := range groups[1:] {
		require.Equal(t, "secret", string(g.ID))
		wait.Go(func() {
			for {
				w, more, err := g.Take(t.Context())
				if err != nil || !more {
					if err != nil {
						t.Error(err)
					}
					return
				}
				b, err := io.ReadAll(w.Body)
				if err != nil || int64(len(b)) != w.Size {
					t.Error(err, len(b))
				}
				w.Read()
				took[g.Rank] += string(b)
				if err := g.Done(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		require.NoError(t, groups[0].Give(int64(len(text)), func(w io.Writer) error { _, err := io.WriteString(w, text); return err }))
		require.NoError(t, groups[0].Finished(t.Context()))
	}
	groups[0].Close(nil)
	wait.Wait()
	for _, s := range took[1:] {
		require.Equal(t, strings.Repeat(text, 3), s)
	}
}

func TestADifferenceIsRefusedByName(t *testing.T) {
	_, errs := meet(t, address(t), 2, func(rank int) Options {
		return Options{Same: map[string]string{"model": "a", "recipe": fmt.Sprint(rank)}, Timeout: 5 * time.Second}
	})
	for _, err := range errs {
		require.ErrorContains(t, err, `the recipe of rank 1 is not rank 0's: "1", "0"`)
		require.Equal(t, fault.ExitVerify, fault.Code(err))
	}
	at := address(t)
	_, errs = meet(t, at, 3, func(rank int) Options { return Options{Timeout: 300 * time.Millisecond} })
	require.NoError(t, errors.Join(errs...))
	refused := func(rank, world int, message string) {
		t.Helper()
		at := address(t)
		failed := make(chan error)
		go func() {
			_, err := Join(t.Context(), Place{Rank: 0, World: 2, Address: at}, Options{Timeout: 5 * time.Second})
			failed <- err
		}()
		_, err := Join(t.Context(), Place{Rank: rank, World: world, Address: at}, Options{Timeout: 5 * time.Second})
		require.ErrorContains(t, err, message)
		require.ErrorContains(t, <-failed, message)
	}
	refused(2, 3, "a process has rank 2 of 2")
}

func TestWhoDoesNotComeIsNamed(t *testing.T) {
	at := address(t)
	quick := Options{Timeout: 300 * time.Millisecond}
	_, err := Join(t.Context(), Place{Rank: 1, World: 2, Address: at}, quick)
	require.ErrorContains(t, err, "not all of 2 processes came within 300ms")
	_, errs := meet(t, at, 2, func(rank int) Options { return quick })
	require.NoError(t, errors.Join(errs...))
	_, err = Join(t.Context(), Place{Rank: 0, World: 3, Address: address(t)}, quick)
	require.ErrorContains(t, err, "rank 1, 2 did not come")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Join(ctx, Place{Rank: 0, World: 3, Address: address(t)}, quick)
	require.ErrorIs(t, err, context.Canceled)
}

// A stranger at the port is no member, and keeps none away.
func TestStrangersAreNotHeard(t *testing.T) {
	at := address(t)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for _, says := range []string{"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff", "\x02\x00\x00\x00{}\x00\x00\x00\x00\x00\x00\x00\x00", ""} {
		wait.Go(func() {
			for {
				if conn, err := net.Dial("tcp", at); err == nil {
					io.WriteString(conn, says)
					conn.Close()
				}
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	groups, errs := meet(t, at, 3, nil)
	close(stop)
	wait.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, g := range groups {
		g.Close(nil)
	}
}

// Whichever rank ends, however, all others learn it at once.
func TestOneThatEndsEndsAll(t *testing.T) {
	for _, rank := range []int{0, 2} {
		for _, how := range []string{"fails", "vanishes"} {
			t.Run(fmt.Sprint(rank, how), func(t *testing.T) {
				groups := joined(t, 3)
				want := "has gone"
				if how == "fails" {
					want = "no memory"
					groups[rank].Close(errors.New("no memory"))
				} else {
					for _, x := range groups[rank].peers {
						x.conn.Close() // as the system does when a process is killed
					}
				}
				for i, g := range groups {
					if i == rank {
						continue
					}
					select {
					case <-g.Context().Done():
					case <-time.After(5 * time.Second):
						t.Fatal("nobody told rank", i)
					}
					err := context.Cause(g.Context())
					require.ErrorContains(t, err, fmt.Sprint("rank ", rank))
					require.ErrorContains(t, err, want)
					if i == 0 {
						require.Error(t, g.Finished(t.Context()))
						require.Error(t, g.Give(1, func(w io.Writer) error { _, err := w.Write([]byte{1}); return err }))
					} else {
						_, _, err := g.Take(t.Context())
						require.ErrorContains(t, err, want)
					}
				}
			})
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, h := range []head{{Kind: hello, Rank: 1, Same: map[string]string{"a": "b"}, Text: protocol}, {Kind: welcome, ID: []byte{1}}, {Kind: work}} {
		var b bytes.Buffer
		if err := writeFrame(&b, h, strings.NewReader("x"), int64(map[bool]int{true: 1}[h.Kind == work])); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, n, err := readFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		require.NoError(t, writeFrame(&b, h, io.LimitReader(zeros{}, n), min(n, 100)))
		again, m, err := readFrame(&b)
		require.NoError(t, err)
		require.Equal(t, min(n, 100), m)
		require.Equal(t, h.Kind, again.Kind)
		require.Equal(t, h.Rank, again.Rank)
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
