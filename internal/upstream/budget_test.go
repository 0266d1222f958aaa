package upstream

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

func some[T any](v T) *T { return &v }

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func newClock(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}

func (c *clock) set(t time.Time)     { c.at.Store(t.UnixNano()) }
func (c *clock) now() time.Time      { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) add(d time.Duration) { c.at.Add(int64(d)) }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func isOver(t *testing.T, err error, what string) *OverBudget {
	t.Helper()
	var over *OverBudget
	require.ErrorAs(t, err, &over)
	require.Equal(t, what, over.What, "%v", err)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	require.NotEmpty(t, fault.Hint(err))
	return over
}

func TestBudgetLimits(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	b := OpenBudget(BudgetOptions{Dir: dir, Now: c.now, All: Limits{Calls: some[int64](5), Money: some(MoneyOf(0.01))}, EachKey: Limits{Tokens: some[int64](1000)},
		Keys: map[string]Limits{"guest": {Calls: some[int64](0)}}})
	h, err := b.reserve(demand{key: "a", tokens: 800, money: MoneyOf(0.004), sent: true})
	require.NoError(t, err)
	_, err = b.reserve(demand{key: "a", tokens: 201})
	over := isOver(t, err, "tokens")
	require.Equal(t, "a", over.Key)
	require.Equal(t, 800.0, over.Spent)
	_, err = b.reserve(demand{key: "guest", tokens: 1})
	isOver(t, err, "calls")
	require.NoError(t, h.settle(300, MoneyOf(0.001)))
	require.NoError(t, h.settle(0, 0), "a second settling")
	h, err = b.reserve(demand{key: "a", tokens: 700, money: MoneyOf(0.009)})
	require.NoError(t, err)
	require.NoError(t, h.settle(700, MoneyOf(0.0085)))
	_, err = b.reserve(demand{key: "b", money: MoneyOf(0.0006)})
	over = isOver(t, err, "money")
	require.True(t, over.Together)
	require.ErrorContains(t, err, "0.0095 of 0.01 are spent")

	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, "2026-11-22", st.Day)
	require.Equal(t, noon.Add(12*time.Hour), st.Resets)
	require.Equal(t, Sums{Calls: 2, Tokens: 1000, Money: MoneyOf(0.0095), Sent: 1}, st.All.Sums)
	require.Equal(t, int64(3), *st.All.LeftCalls)
	require.Equal(t, MoneyOf(0.0005), *st.All.LeftMoney)
	require.Equal(t, int64(0), *st.Keys["a"].LeftTokens)
	require.Equal(t, int64(0), *st.Keys["guest"].LeftCalls)
	require.Nil(t, st.Keys["a"].LeftCalls)

	// The next day is new; the one before is written as sums.
	c.set(noon.Add(24 * time.Hour))
	_, err = b.reserve(demand{key: "a", tokens: 1000})
	require.NoError(t, err)
	old, err := os.ReadFile(filepath.Join(dir, "2026-11-22.jsonl"))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(old), "\n"), "%s", old)
}

func TestBudgetShare(t *testing.T) {
	b := OpenBudget(BudgetOptions{Dir: t.TempDir(), All: Limits{Share: some(0.3)}})
	left := 0
	for i := range 100 {
		require.NoError(t, b.Count("k"))
		if _, err := b.reserve(demand{key: "k", sent: true}); err == nil {
			left++
			// A retry is a call, but no further query.
			_, err := b.reserve(demand{key: "k"})
			require.NoError(t, err)
		} else {
			isOver(t, err, "share")
		}
		require.LessOrEqual(t, float64(left), 0.3*float64(i+1)+1e-9)
	}
	require.Equal(t, 30, left)
	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, 0.3, st.All.Share)
	require.Equal(t, int64(60), st.All.Calls)
}

// TestClockGoesBack: by hours or years, it finds the budget as it was.
func TestClockGoesBack(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	o := BudgetOptions{Dir: dir, Now: c.now, All: Limits{Calls: some[int64](2)}}
	b := OpenBudget(o)
	for range 2 {
		_, err := b.reserve(demand{})
		require.NoError(t, err)
	}
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 300 * 24 * time.Hour} {
		c.set(noon.Add(-back))
		_, err := b.reserve(demand{})
		require.Equal(t, "2026-11-22", isOver(t, err, "calls").Day)
		_, err = OpenBudget(o).reserve(demand{})
		isOver(t, err, "calls")
	}
	// Forward it is another day, and back again no third one.
	c.set(noon.Add(24 * time.Hour))
	_, err := b.reserve(demand{})
	require.NoError(t, err)
	c.set(noon)
	_, err = b.reserve(demand{})
	require.NoError(t, err)
	_, err = b.reserve(demand{})
	isOver(t, err, "calls")
}

func TestDaysOfTheZone(t *testing.T) {
	c := newClock(time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC))
	b := OpenBudget(BudgetOptions{Dir: t.TempDir(), Now: c.now, Zone: time.FixedZone("east", 3600)})
	require.NoError(t, b.Count(""))
	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, "2026-11-23", st.Day)
	require.True(t, st.Resets.Equal(time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC)))
}

// TestSettleOverMidnight: what a call cost is put down to the day it left.
func TestSettleOverMidnight(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	o := BudgetOptions{Dir: dir, Now: c.now}
	b := OpenBudget(o)
	h, err := b.reserve(demand{key: "a", tokens: 100})
	require.NoError(t, err)
	c.add(24 * time.Hour)
	other, err := b.reserve(demand{key: "a", tokens: 50})
	require.NoError(t, err)
	require.NoError(t, h.settle(7, 0))
	require.NoError(t, other.settle(9, 0))
	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, Sums{Calls: 1, Tokens: 9}, st.All.Sums)
	yesterday := &journal{dir: dir, name: "2026-11-22"}
	require.NoError(t, yesterday.refresh(false))
	require.Equal(t, Sums{Calls: 1, Tokens: 7}, yesterday.all())
}

// TestManyWriters: budgets of one folder, as processes have them, together let
// out just what the limit allows.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	const limit = 100
	var out atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			b := OpenBudget(BudgetOptions{Dir: dir, All: Limits{Tokens: some[int64](10 * limit)}, Keys: map[string]Limits{"3": {Calls: some[int64](4)}}})
			for i := range 20 {
				h, err := b.reserve(demand{key: fmt.Sprint(w), tokens: 20})
				if err != nil {
					var over *OverBudget
					if !errors.As(err, &over) {
						t.Error(err)
					}
					continue
				}
				if err := h.settle(10, 0); err != nil {
					t.Error(err)
				}
				out.Add(1)
				_ = i
			}
		})
	}
	wg.Wait()
	b := OpenBudget(BudgetOptions{Dir: dir})
	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, out.Load()*10, st.All.Tokens)
	require.LessOrEqual(t, st.All.Tokens, int64(10*limit))
	require.GreaterOrEqual(t, st.All.Tokens, int64(10*limit-20*8))
	require.LessOrEqual(t, st.Keys["3"].Calls, int64(4))
	require.Zero(t, st.All.Open)
}

// TestTornJournal: what a crash left of a line counts for nothing, and the
// next line is whole.
func TestTornJournal(t *testing.T) {
	dir := t.TempDir()
	c := newClock(noon)
	o := BudgetOptions{Dir: dir, Now: c.now, All: Limits{Calls: some[int64](4)}}
	b := OpenBudget(o)
	h, err := b.reserve(demand{tokens: 5})
	require.NoError(t, err)
	path := filepath.Join(dir, "2026-11-22.jsonl")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, tail := range []string{`{"kind":"reserve","id":"x","tok`, strings.Repeat("z", 3*maxLine), "\x00\x00\x00", `{"kind":"sums","calls":-9}` + "\n{"} {
		require.NoError(t, os.WriteFile(path, append(append([]byte(nil), whole...), tail...), 0o600))
		b := OpenBudget(o)
		other, err := b.reserve(demand{tokens: 6})
		require.NoError(t, err, tail)
		require.NoError(t, other.settle(2, 0))
		st, err := OpenBudget(o).Status()
		require.NoError(t, err)
		require.Equal(t, Sums{Calls: 2, Tokens: 2, Open: 1, ReservedTokens: 5}, st.All.Sums, tail)
	}
	// The first budget goes on over the replaced file.
	require.NoError(t, h.settle(1, 0))
	st, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, int64(0), st.All.Open)
	// A whole record without its line's end, as a crash may leave it, counts.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"kind":"reserve","id":"y","tokens":3}`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = b.reserve(demand{})
	require.NoError(t, err)
	_, err = b.reserve(demand{})
	isOver(t, err, "calls")
}

// TestCompaction: written anew, the journal says the same, and others read on.
func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	c := newClock(noon)
	o := BudgetOptions{Dir: dir, Now: c.now}
	b, other := OpenBudget(o), OpenBudget(o)
	open, err := b.reserve(demand{key: "x", tokens: 77, money: 5, sent: true})
	require.NoError(t, err)
	require.NoError(t, other.Count("x"))
	for range 50 {
		h, err := other.reserve(demand{key: "y", tokens: 10, money: 3})
		require.NoError(t, err)
		require.NoError(t, h.settle(4, 2))
	}
	before, err := b.Status()
	require.NoError(t, err)
	b.mu.Lock()
	require.NoError(t, b.with(func(j *journal) error { return j.compact() }))
	b.mu.Unlock()
	after, err := b.Status()
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, int64(51), after.All.Calls)
	info, err := os.Stat(filepath.Join(dir, "2026-11-22.jsonl"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(600))
	require.NoError(t, other.Count("x"))
	require.NoError(t, open.settle(70, 4))
	after, err = other.Status()
	require.NoError(t, err)
	require.Equal(t, Sums{Calls: 51, Tokens: 270, Money: 104, Queries: 2, Sent: 1}, after.All.Sums)
}

func TestOldJournalsGo(t *testing.T) {
	dir := t.TempDir()
	c := newClock(noon)
	b := OpenBudget(BudgetOptions{Dir: dir, Now: c.now})
	for range 50 {
		require.NoError(t, b.Count("a"))
		c.add(24 * time.Hour)
	}
	days, err := journals(dir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(days), keptDays+2)
}

// TestBudgetFolder: what can't be counted does not leave.
func TestBudgetFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	b := OpenBudget(BudgetOptions{Dir: dir})
	_, err := b.reserve(demand{})
	require.Error(t, err)
	require.NotEmpty(t, fault.Hint(err))
}

// TestBudgetIsExact: whatever happens in whatever order, the sums are those of
// a plain count, and no limit is passed.
func TestBudgetIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "budget")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		limit := rapid.Int64Range(0, 300).Draw(t, "limit")
		c := newClock(noon)
		o := BudgetOptions{Dir: dir, Now: c.now, All: Limits{Tokens: &limit}}
		writers := []*Budget{OpenBudget(o), OpenBudget(o)}
		var open []*hold
		var spent, reserved, calls int64
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			b := rapid.SampledFrom(writers).Draw(t, "writer")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				n := rapid.Int64Range(0, 120).Draw(t, "tokens")
				h, err := b.reserve(demand{tokens: n})
				if (err == nil) != (spent+reserved+n <= limit) {
					t.Fatalf("%d+%d+%d of %d: %v", spent, reserved, n, limit, err)
				}
				if err == nil {
					open, reserved, calls = append(open, h), reserved+n, calls+1
				}
			case 2:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
					h := open[i]
					n := rapid.Int64Range(0, h.demand.tokens).Draw(t, "cost")
					if err := h.settle(n, 0); err != nil {
						t.Fatal(err)
					}
					open, spent, reserved = append(open[:i], open[i+1:]...), spent+n, reserved-h.demand.tokens
				}
			case 3:
				b.mu.Lock()
				err := b.with(func(j *journal) error { return j.compact() })
				b.mu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		st, err := OpenBudget(o).Status()
		if err != nil {
			t.Fatal(err)
		}
		if want := (Sums{Calls: calls, Tokens: spent, Open: int64(len(open)), ReservedTokens: reserved}); st.All.Sums != want {
			t.Fatalf("%+v, want %+v", st.All.Sums, want)
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("{\"kind\":\"gen\",\"id\":\"g\"}\n{\"kind\":\"reserve\",\"id\":\"a\",\"tokens\":9}\n{\"kind\":\"settle\",\"id\":\"a\",\"tokens\":3}\n"))
	f.Add([]byte("{\"kind\":\"sums\",\"calls\":3}\n{\"kind\":\"query\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &journal{}
		j.reset("")
		require.NoError(t, j.load(strings.NewReader(string(data))))
		s := j.all()
		require.GreaterOrEqual(t, s.Open, int64(0))
		require.LessOrEqual(t, j.offset, int64(len(data)))
	})
}

// TestMoney: sums of prices are exact, and rounded up.
func TestMoney(t *testing.T) {
	require.Equal(t, MoneyOf(0.15), Price{In: 0.15}.cost(tokens{in: 1e6}))
	require.Equal(t, Money(150), Price{In: 0.15}.cost(tokens{in: 1}))
	require.Equal(t, Money(1), Price{Out: 0.0000001}.cost(tokens{out: 1}))
	require.Equal(t, "0.00015", Price{In: 0.15}.cost(tokens{in: 1000}).String())
	require.Zero(t, MoneyOf(-1))
	require.Equal(t, Money(maxMoney), Price{In: maxPrice}.cost(tokens{in: maxTokens}))
	var m Money
	require.NoError(t, m.UnmarshalJSON([]byte("0.000000007")))
	require.Equal(t, Money(7), m)
}

// TestProcessThatDies: a process that is killed within a call leaves it counted
// at its most, for other processes too.
func TestProcessThatDies(t *testing.T) {
	if dir := os.Getenv("EGRESS_TEST_DIES"); dir != "" {
		b := OpenBudget(BudgetOptions{Dir: dir, All: Limits{Calls: some[int64](5)}})
		if _, err := b.reserve(demand{key: "child", tokens: 40, money: 9, sent: true}); err != nil {
			os.Exit(3)
		}
		fmt.Println("reserved")
		time.Sleep(time.Minute)
		return
	}
	dir := t.TempDir()
	for i := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcessThatDies$")
		cmd.Env = append(os.Environ(), "EGRESS_TEST_DIES="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var line [9]byte
		_, err = out.Read(line[:])
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		st, err := OpenBudget(BudgetOptions{Dir: dir}).Status()
		require.NoError(t, err)
		n := int64(i + 1)
		require.Equal(t, Sums{Calls: n, Sent: n, Open: n, ReservedTokens: 40 * n, ReservedMoney: Money(9 * n)}, st.All.Sums)
	}
	_, err := OpenBudget(BudgetOptions{Dir: dir, All: Limits{Calls: some[int64](5)}}).reserve(demand{})
	isOver(t, err, "calls")
}
