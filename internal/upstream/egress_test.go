package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crayon/internal/fault"
	"crayon/internal/privacy"
	"crayon/internal/upstream/fake"

	"github.com/stretchr/testify/require"
)

// egress is a gate with everything, before one or several fake servers.
type egress struct {
	gate    *Gate
	ledger  *Ledger
	budget  *Budget
	servers Servers
	fakes   []*fake.Server
}

// newEgress makes it; each server's first option set is o.
func newEgress(t *testing.T, g Options, limits BudgetOptions, o ServerOptions, steps ...[]fake.Step) *egress {
	t.Helper()
	e := &egress{ledger: LedgerAt(filepath.Join(t.TempDir(), "ledger.jsonl"))}
	if limits.Dir == "" {
		limits.Dir = t.TempDir()
	}
	e.budget = OpenBudget(limits)
	g.Ledger, g.Budget = e.ledger, e.budget
	e.gate = New(g)
	t.Cleanup(e.gate.Close)
	var all []ServerOptions
	for _, s := range steps {
		f := fake.New(s...)
		t.Cleanup(f.Close)
		e.fakes = append(e.fakes, f)
		one := o
		one.URL, one.Key, one.Model = f.URL, testKey, "m"
		if one.Timeout == 0 {
			one.Timeout = 5 * time.Second
		}
		if one.Price == nil {
			one.Price = &Price{In: 1, Out: 2}
		}
		all = append(all, one)
	}
	var err error
	e.servers, err = NewServers(e.gate, all)
	require.NoError(t, err)
	return e
}

func (e *egress) sums(t *testing.T) Sums {
	t.Helper()
	st, err := e.budget.Status()
	require.NoError(t, err)
	return st.All.Sums
}

func (e *egress) entries(t *testing.T) []Entry {
	t.Helper()
	all, err := e.ledger.Entries(time.Time{})
	require.NoError(t, err)
	return all
}

// read takes all of a stream.
func read(t *testing.T, st *Stream) string {
	t.Helper()
	defer st.Close()
	text := ""
	for st.Next() {
		text += st.Delta()
	}
	require.Equal(t, text, st.Reply().Text)
	return text
}

// TestLedgerShowsWhatTheServerGot: sizes, digests and kept bodies are those of
// the bytes on both sides.
func TestLedgerShowsWhatTheServerGot(t *testing.T) {
	e := newEgress(t, Options{Bodies: true}, BudgetOptions{}, ServerOptions{Retries: -1}, []fake.Step{fake.Answer("light scatters"), fake.Answer("light scatters"), fake.Cut("one two three", 2), fake.Fail(500, 0, "no")})
	r := ask
	r.Key = "mine"
	_, err := e.servers.Complete(context.Background(), r)
	require.NoError(t, err)
	for range 2 {
		st, err := e.servers.Stream(context.Background(), r)
		require.NoError(t, err)
		read(t, st)
	}
	r.Messages = []Message{{"user", "ünï\"code\\\n\u2028 ✓"}}
	_, err = e.servers[0].Complete(context.Background(), r)
	require.Error(t, err)
	calls, entries := e.fakes[0].Calls(), e.entries(t)
	require.Len(t, entries, len(calls))
	for i, c := range calls {
		x := entries[i]
		require.Equal(t, digestOf([]byte(c.Raw)), x.OutSHA256)
		require.Equal(t, int64(len(c.Raw)), x.Out)
		body, err := os.ReadFile(e.ledger.BodyPath(x.ID, "request"))
		require.NoError(t, err)
		require.Equal(t, c.Raw, string(body))
		body, err = os.ReadFile(e.ledger.BodyPath(x.ID, "response"))
		require.NoError(t, err)
		require.Equal(t, digestOf(body), x.InSHA256)
		require.Equal(t, int64(len(body)), x.In)
		require.Equal(t, "mine", x.Key)
		require.Equal(t, "out-of-scope", x.Why)
	}
	require.Equal(t, []any{int64(7), int64(2), countedUsage, MoneyOf(11e-6)}, []any{entries[0].PromptTokens, entries[0].CompletionTokens, entries[0].Counted, entries[0].Cost})
	require.Equal(t, countedBytes, entries[2].Counted)
	require.Equal(t, "cut", entries[2].Error)
	raw, err := os.ReadFile(e.ledger.Path())
	require.NoError(t, err)
	require.NotContains(t, string(raw), testKey)
	require.NotContains(t, string(raw), "sky")

	// Without being asked for, no body is kept.
	quiet := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("x")})
	_, err = quiet.servers.Complete(context.Background(), ask)
	require.NoError(t, err)
	require.NoFileExists(t, quiet.ledger.BodyPath(quiet.entries(t)[0].ID, "request"))
}

// TestNothingOverspent: under every fault, with retries, streams, cuts and 64
// askers at once, the server never bills more than the budget allows, nor more
// than the budget says was spent or may be.
func TestNothingOverspent(t *testing.T) {
	answer := "one two three four five six seven eight"
	for name, step := range map[string]fake.Step{
		"answers": fake.Answer(answer), "cut": fake.Cut(answer, 3), "good order": fake.End(answer, 4), "stall": fake.Stall(answer, 2), "error event": fake.StreamError(answer, 2, "no"),
		"500": fake.Fail(500, 0, "no"), "429": fake.Fail(429, 0.001, "no"), "html": fake.HTML(), "half json": fake.HalfJSON(), "drop": fake.Drop(), "endless": fake.Endless(),
		"slow": fake.Slow(time.Hour, fake.Answer(answer)), "wrong ids": fake.WrongIDs(answer), "no usage": fake.NoUsage(answer),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, calls := int64(6000), int64(40)
			money := MoneyOf(0.005)
			o := BudgetOptions{All: Limits{Tokens: &limit, Calls: &calls, Money: &money}}
			// Some answer well, so that good and bad ones mix.
			steps := []fake.Step{step, fake.Answer(answer), step, step}
			e := newEgress(t, Options{}, o, ServerOptions{Retries: 1, Timeout: 150 * time.Millisecond, Idle: 100 * time.Millisecond, MaxWait: 5 * time.Millisecond, MaxBody: 64 << 10,
				Now: func() time.Time { return time.Time{} }}, steps)
			e.servers[0].breaker.now = func() time.Time { return time.Now().Add(time.Hour) } // never rests for long
			var wg sync.WaitGroup
			errs := make(chan error, 64)
			for i := range 64 {
				wg.Go(func() {
					r := ask
					r.Key = fmt.Sprint(i % 3)
					if err := e.servers.Count(r.Key); err != nil {
						errs <- err
					}
					if i%2 == 0 {
						if _, err := e.servers.Complete(context.Background(), r); err != nil {
							errs <- err
						}
						return
					}
					st, err := e.servers.Stream(context.Background(), r)
					if err != nil {
						errs <- err
						return
					}
					if i%8 == 1 {
						st.Close() // the caller leaves
						return
					}
					for st.Next() {
					}
					st.Close()
				})
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				require.NotContains(t, err.Error(), testKey)
			}
			s := e.sums(t)
			require.Zero(t, s.Open, "every call was settled")
			require.LessOrEqual(t, s.Calls, calls)
			require.LessOrEqual(t, s.Tokens, limit)
			require.LessOrEqual(t, s.Money, money)
			require.GreaterOrEqual(t, s.Calls, int64(len(e.fakes[0].Calls())), "what the server saw was counted")
			// What the fake said in full or in part is within what was counted.
			var said, counted int64
			for _, x := range e.entries(t) {
				if !x.Refused() {
					counted += x.PromptTokens + x.CompletionTokens
				}
			}
			said = e.fakes[0].Billed()
			require.Equal(t, s.Tokens, counted)
			require.GreaterOrEqual(t, s.Tokens, said, "counted %d, billed %d", s.Tokens, said)
			require.LessOrEqual(t, said, limit)
		})
	}
}

// TestKilledMidCall: processes killed while the server answers leave their
// calls counted at their most, and no other process spends that again.
func TestKilledMidCall(t *testing.T) {
	limit := int64(2000)
	if url := os.Getenv("EGRESS_TEST_URL"); url != "" {
		g := New(Options{Ledger: LedgerAt(os.Getenv("EGRESS_TEST_LEDGER")), Budget: OpenBudget(BudgetOptions{Dir: os.Getenv("EGRESS_TEST_BUDGET"), All: Limits{Tokens: &limit}})})
		s, err := NewServers(g, []ServerOptions{{URL: url, Model: "m", Retries: -1}})
		if err != nil {
			os.Exit(3)
		}
		st, err := s.Stream(context.Background(), ask)
		var over *OverBudget
		if errors.As(err, &over) {
			os.Exit(4)
		}
		if err != nil {
			os.Exit(5)
		}
		fmt.Println("streaming")
		for st.Next() {
		}
		return
	}
	dir := t.TempDir()
	f := fake.New(fake.Stall("one two three", 2))
	defer f.Close()
	killed, refused := 0, 0
	for range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledMidCall$")
		cmd.Env = append(os.Environ(), "EGRESS_TEST_URL="+f.URL, "EGRESS_TEST_LEDGER="+filepath.Join(dir, "ledger.jsonl"), "EGRESS_TEST_BUDGET="+filepath.Join(dir, "budget"))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		if n, _ := io.ReadFull(out, make([]byte, 9)); n == 9 {
			killed++
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
			continue
		}
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		require.Equal(t, 4, exit.ExitCode())
		refused++
	}
	st, err := OpenBudget(BudgetOptions{Dir: filepath.Join(dir, "budget")}).Status()
	require.NoError(t, err)
	require.Equal(t, int64(killed), st.All.Open)
	require.LessOrEqual(t, st.All.ReservedTokens, limit)
	require.GreaterOrEqual(t, st.All.ReservedTokens, f.Billed())
	require.Equal(t, killed, len(f.Calls()))
	require.NotZero(t, refused)
	require.NotZero(t, killed)
	entries, _, err := ReadLedger(filepath.Join(dir, "ledger.jsonl"), time.Time{})
	require.NoError(t, err)
	begun := 0
	for i, x := range entries {
		if x.State == StateBegun {
			require.Equal(t, digestOf([]byte(f.Calls()[i].Raw)), x.OutSHA256, "known before it left")
			begun++
		}
	}
	require.Equal(t, killed, begun)
}

// TestPrivateCorpus: of 600 conversations with something private, nothing
// reaches the server; redacted, none of its values does.
func TestPrivateCorpus(t *testing.T) {
	cases := fake.PrivateCorpus(11, 600)
	request := func(c fake.Case) Request {
		r := Request{Model: "m", MaxTokens: 4}
		for _, m := range c.Turns {
			r.Messages = append(r.Messages, Message(m))
		}
		return r
	}
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	for _, c := range cases {
		_, err := e.servers.Complete(context.Background(), request(c))
		var p *Private
		require.ErrorAs(t, err, &p, "%s: %q", c.Form, c.Turns)
		require.Equal(t, fault.ExitRefused, fault.Code(err))
		require.NotContains(t, fake.Squeeze(err.Error()), c.Value)
	}
	require.Empty(t, e.fakes[0].Calls())
	entries := e.entries(t)
	require.Len(t, entries, len(cases), "each refusal is listed")
	raw, err := os.ReadFile(e.ledger.Path())
	require.NoError(t, err)
	for _, c := range cases {
		require.NotContains(t, fake.Squeeze(string(raw)), c.Value)
	}
	require.Zero(t, e.sums(t).Calls)

	redact, err := privacy.New(privacy.Options{Redact: true})
	require.NoError(t, err)
	e = newEgress(t, Options{Privacy: redact}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	for _, c := range cases {
		n := len(e.fakes[0].Calls())
		_, err := e.servers.Complete(context.Background(), request(c))
		var p *Private
		require.True(t, err == nil || errors.As(err, &p), "%v", err)
		for _, call := range e.fakes[0].Calls()[n:] {
			all := ""
			for _, m := range call.Body.Messages {
				all += m.Content
			}
			require.NotContains(t, fake.Squeeze(all), c.Value, "%s: %s", c.Form, call.Raw)
		}
	}
	t.Logf("%d conversations; none left; redacted, %d left without their value", len(cases), len(e.fakes[0].Calls()))
}

// TestGateScansBytes: what goes round the servers' own methods is scanned too,
// wherever in the request it stands.
func TestGateScansBytes(t *testing.T) {
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"4111 1111 1111 1111"}]}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"4111 1111"},{"type":"text","text":"1111 1111"}]}]}`,
		`{"messages":[{"role":"user","content":"\u0034\u0031\u0031\u0031111111111111"}]}`,
		`{"messages":[],"tools":[{"function":{"description":"mail jane.doe@example.org"}}]}`,
		`{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{\"card\":4111111111111111}"}}]}]}`,
		`{"card":4111111111111111}`, `{"jane.doe@example.org":1}`, `not json 4111111111111111`, `["4111111111111111"]`,
		`{"metadata":{"user":"+49 171 1234567"}}`,
	} {
		for _, purpose := range []string{"chat", "pool"} {
			_, err := e.gate.Client(purpose).Post(e.fakes[0].URL+"/chat/completions", "application/json", strings.NewReader(body))
			var p *Private
			require.ErrorAs(t, err, &p, body)
		}
	}
	_, err := e.gate.Client("chat").Post(e.fakes[0].URL+"/chat/completions", "application/json", strings.NewReader(`{"x":"`+strings.Repeat("a ", maxRequest/2)+`"}`))
	require.ErrorContains(t, err, "bytes")
	require.Empty(t, e.fakes[0].Calls())
	resp, err := e.gate.Client("chat").Post(e.fakes[0].URL+"/chat/completions", "application/json", strings.NewReader(`{"seed":4111111111111111,"messages":[{"role":"user","content":"hello"}]}`))
	require.NoError(t, err)
	resp.Body.Close()
}

// TestWhatCannotBeScanned does not leave.
func TestWhatCannotBeScanned(t *testing.T) {
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	long := Request{Messages: []Message{{"user", strings.Repeat("a ", privacy.MaxText/2+1)}}}
	_, err := e.servers.Complete(context.Background(), long)
	var p *Private
	require.ErrorAs(t, err, &p)
	require.Equal(t, tagUnread, p.Tag)
	require.Empty(t, e.fakes[0].Calls())
}

// TestTaintedConversations: known to every gate of the file, also after a crash
// within a line; a file that can't be read taints all that have an id.
func TestTaintedConversations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "private")
	e := newEgress(t, Options{Tainted: path}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	other := newEgress(t, Options{Tainted: path}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	asked := func(e *egress, conversation, text string, private bool) string {
		_, err := e.servers.Complete(context.Background(), Request{Messages: []Message{{"user", text}}, Conversation: conversation, Private: private})
		var p *Private
		if errors.As(err, &p) {
			return p.Error()
		}
		require.NoError(t, err)
		return ""
	}
	require.Empty(t, asked(e, "a", "hello", false))
	require.Contains(t, asked(e, "a", "I am jane.doe@example.org", false), "mail")
	require.Contains(t, asked(other, "a", "hello", false), "earlier")
	require.Contains(t, asked(e, "b", "hello", true), "tagged")
	require.Contains(t, asked(other, "b", "hello", false), "earlier")
	require.Empty(t, asked(other, "c", "hello", false))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, raw, 2*taintLine)
	require.NoError(t, os.WriteFile(path, append(raw, "0123"...), 0o600))
	require.NotEmpty(t, asked(e, "c", "hello", true))
	third := newEgress(t, Options{Tainted: path}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	for _, id := range []string{"a", "b", "c"} {
		require.NotEmpty(t, asked(third, id, "hello", false), id)
	}
	require.Empty(t, asked(third, "", "hello", false))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
	require.Contains(t, asked(third, "new", "hello", false), "can't be told")
	require.NotEmpty(t, asked(third, "new", "hello", false))
	require.Empty(t, asked(third, "", "hello", false))
}

// TestRedactedAndUndone: the server sees placeholders, the user what they stand
// for, also where a placeholder is cut by the stream.
func TestRedactedAndUndone(t *testing.T) {
	redact, err := privacy.New(privacy.Options{Redact: true})
	require.NoError(t, err)
	e := newEgress(t, Options{Privacy: redact}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Pieces("write to [MA", "IL_", "1] or ", "[CARD_", "1", "], not [MAIL_9] [", "MAIL_1")})
	r := Request{Messages: []Message{{"user", "my mail is jane.doe@example.org, my card 4111 1111 1111 1111"}}}
	st, err := e.servers.Stream(context.Background(), r)
	require.NoError(t, err)
	want := "write to jane.doe@example.org or 4111 1111 1111 1111, not [MAIL_9] [MAIL_1"
	require.Equal(t, want, read(t, st))
	require.NoError(t, st.Err())
	require.Equal(t, "my mail is [MAIL_1], my card [CARD_1]", e.fakes[0].Calls()[0].Body.Messages[0].Content)
	reply, err := e.servers.Complete(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, want, reply.Text)
	// A tag is no finding: it stays, whatever the policy.
	r.Private = true
	_, err = e.servers.Complete(context.Background(), r)
	var p *Private
	require.ErrorAs(t, err, &p)
}

// TestToolsPassThrough: a client's own request leaves as it is but for model,
// stream and bounds, and the answer comes back whole.
func TestToolsPassThrough(t *testing.T) {
	body := `{"messages":[{"role":"user","content":"weather in Paris?"}],  "tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}],
"tool_choice":"required","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"b":1,"a":1.50}}},"x_unknown":{"z":[1,2]}}`
	calls := `[{"index":0,"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\"}"}}]`
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.ToolCall(calls)})
	st, err := e.servers.Stream(context.Background(), Request{Body: json.RawMessage(body), Key: "k"})
	require.NoError(t, err)
	var raws []string
	for st.Next() {
		raws = append(raws, string(st.Raw()))
	}
	require.NoError(t, st.Err())
	st.Close()
	require.Len(t, raws, 2)
	require.Contains(t, raws[0], `"arguments":"{\"city\": \"Paris\"}"`)
	require.Contains(t, raws[1], `"finish_reason":"tool_calls"`)
	sent := e.fakes[0].Calls()[0].Raw
	require.Contains(t, sent, strings.TrimSuffix(strings.TrimPrefix(body, "{"), "}"), "not a byte of it changed")
	reply, err := e.servers.Complete(context.Background(), Request{Body: json.RawMessage(body)})
	require.NoError(t, err)
	require.Contains(t, string(reply.Raw), `"tool_calls"`)
	require.Equal(t, "tool_calls", reply.FinishReason)
	for _, bad := range []string{`[]`, `{"messages":`, `"x"`} {
		_, err := e.servers.Complete(context.Background(), Request{Body: json.RawMessage(bad)})
		require.Equal(t, fault.ExitUsage, fault.Code(err), bad)
	}
	_, err = e.servers.Complete(context.Background(), Request{Body: json.RawMessage(strings.Replace(body, "Paris", "a.b@example.org", 1))})
	var p *Private
	require.ErrorAs(t, err, &p)
	require.Len(t, e.fakes[0].Calls(), 2)
}

// TestAnswersAreBounded: where a budget counts tokens, the server is told how
// long an answer may be, and an endless one is cut.
func TestAnswersAreBounded(t *testing.T) {
	limit := int64(100000)
	e := newEgress(t, Options{}, BudgetOptions{All: Limits{Tokens: &limit}}, ServerOptions{}, []fake.Step{fake.Answer("x"), fake.Endless()})
	_, err := e.servers.Complete(context.Background(), Request{Messages: ask.Messages})
	require.NoError(t, err)
	require.Equal(t, defaultAnswer, e.fakes[0].Calls()[0].Body.MaxTokens)
	st, err := e.servers.Stream(context.Background(), ask)
	require.NoError(t, err)
	text := read(t, st)
	require.Equal(t, TooLarge, KindOf(st.Err()))
	require.ErrorContains(t, st.Err(), "more tokens than asked for")
	require.Less(t, len(text), 10000)
}

// TestServersByPriceAndLength: what is too long for one, or over its price,
// goes to the next.
func TestServersByPriceAndLength(t *testing.T) {
	short, long := fake.New(fake.Answer("short")), fake.New(fake.Answer("long"))
	defer short.Close()
	defer long.Close()
	money := MoneyOf(0.001)
	gate := New(Options{Budget: OpenBudget(BudgetOptions{Dir: t.TempDir(), All: Limits{Money: &money}})})
	defer gate.Close()
	servers, err := NewServers(gate, []ServerOptions{
		{URL: short.URL, Model: "m", Context: 100, Price: &Price{}}, {URL: long.URL, Model: "m", Price: &Price{In: 1, Out: 1}}})
	require.NoError(t, err)
	reply, err := servers.Complete(context.Background(), ask)
	require.NoError(t, err)
	require.Equal(t, "short", reply.Text)
	lengthy := Request{Messages: []Message{{"user", strings.Repeat("word ", 100)}}, MaxTokens: 20}
	require.NoError(t, servers.Screen(lengthy))
	reply, err = servers.Complete(context.Background(), lengthy)
	require.NoError(t, err)
	require.Equal(t, "long", reply.Text)
	lengthy.Messages[0].Content = strings.Repeat("word ", 1000)
	isOver(t, servers.Screen(lengthy), "money")
	_, err = servers.Complete(context.Background(), lengthy)
	isOver(t, err, "money")
	require.ErrorContains(t, err, "too-long")
	// Without a price, a limit of money means nothing.
	_, err = NewServers(gate, []ServerOptions{{URL: long.URL}})
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	require.ErrorContains(t, err, "price")
	for _, bad := range []Price{{In: -1}, {Out: math.NaN()}, {In: math.Inf(1)}} {
		_, err = NewServers(gate, []ServerOptions{{URL: long.URL, Price: &bad}})
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
}

// TestOneQueryCountsOnce: to the share, whatever servers and retries it takes.
func TestOneQueryCountsOnce(t *testing.T) {
	share := 0.5
	e := newEgress(t, Options{}, BudgetOptions{All: Limits{Share: &share}}, ServerOptions{Retries: 1, MaxWait: time.Millisecond}, []fake.Step{fake.Drop()}, []fake.Step{fake.Answer("ok")})
	for range 2 {
		require.NoError(t, e.servers.Count(""))
	}
	_, err := e.servers.Complete(context.Background(), ask)
	require.NoError(t, err)
	s := e.sums(t)
	require.Equal(t, []int64{3, 1, 2}, []int64{s.Calls, s.Sent, s.Queries})
	_, err = e.servers.Complete(context.Background(), ask)
	isOver(t, err, "share")
}

// TestBreaker: after failures in a row a server rests, then one request finds
// out; time is the test's.
func TestBreaker(t *testing.T) {
	c := newClock(noon)
	fails := fake.Fail(500, 0, "no")
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{Retries: -1, Now: c.now},
		[]fake.Step{fails, fails, fails, fails, fake.Answer("back"), fake.Fail(400, 0, "bad"), fake.Fail(429, 90, "later"), fake.Answer("again")})
	s := e.servers[0]
	one := func() error {
		_, err := s.Complete(context.Background(), ask)
		return err
	}
	for range restFrom {
		require.Equal(t, Overloaded, KindOf(one()))
	}
	require.Equal(t, Resting, e.servers.Health()[0].Health)
	err := one()
	require.Equal(t, Rests, KindOf(err))
	require.ErrorContains(t, err, "failed 3 times")
	require.Equal(t, Rests, KindOf(e.servers.Screen(ask)))
	require.Len(t, e.fakes[0].Calls(), restFrom, "it is left alone")
	c.add(restLeast)
	require.Equal(t, Probing, e.servers.Health()[0].Health)
	require.Equal(t, Overloaded, KindOf(one()), "the one that finds out")
	c.add(restLeast)
	require.Equal(t, Rests, KindOf(one()), "twice as long")
	c.add(restLeast)
	require.NoError(t, one())
	require.Equal(t, Healthy, e.servers.Health()[0].Health)
	require.Equal(t, Rejected, KindOf(one()), "its refusals are no failures")
	require.Equal(t, RateLimited, KindOf(one()))
	require.Equal(t, Rests, KindOf(one()), "asked to wait, it is left in peace")
	c.add(89 * time.Second)
	require.Equal(t, Rests, KindOf(one()))
	c.add(time.Second)
	require.NoError(t, one())

	// Of many at once, one finds out.
	b := &breaker{now: c.now}
	for range restFrom {
		require.NoError(t, b.enter())
		b.leave(&Failure{Kind: Dead})
	}
	c.add(restMost)
	require.NoError(t, b.enter())
	require.Error(t, b.enter())
	b.leave(context.Canceled) // who found out left without an answer
	require.NoError(t, b.enter())
	b.leave(nil)
	require.NoError(t, b.enter())
}

// TestWrongIDs: an answer whose ids and model are not the ones asked for is an
// answer; the ledger and the reply say what the server said.
func TestWrongIDs(t *testing.T) {
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.WrongIDs("one two")})
	st, err := e.servers.Stream(context.Background(), ask)
	require.NoError(t, err)
	require.Equal(t, "one two", read(t, st))
	require.NoError(t, st.Err())
	require.Equal(t, "another-model", st.Reply().Model)
	reply, err := e.servers.Complete(context.Background(), ask)
	require.NoError(t, err)
	require.Equal(t, "one two", reply.Text)
}

// TestMeter: what is counted is never less than what came, and not more than
// was reserved unless the server says so.
func TestMeter(t *testing.T) {
	most := tokens{in: 100, out: 10}
	event := func(s string) string { return "data: " + s + "\n\n" }
	text := event(`{"choices":[{"delta":{"content":"hello there"}}]}`)
	stop := event(`{"choices":[{"delta":{},"finish_reason":"stop"}]}`)
	use := event(`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`)
	for _, c := range []struct {
		name, body string
		status     int
		cause      error
		want       tokens
		how        string
	}{
		{"usage", text + stop + use, 200, nil, tokens{7, 3}, countedUsage},
		{"no usage", text + stop, 200, nil, tokens{100, 10}, countedBytes},
		{"cut", text[:len(text)-1], 200, io.ErrUnexpectedEOF, tokens{100, 10}, countedBytes},
		{"cut with early usage", use + text, 200, io.ErrUnexpectedEOF, tokens{100, 10}, countedBytes},
		{"short and cut", event(`{"choices":[{"delta":{"content":"hi"}}]}`), 200, nil, tokens{100, 2}, countedBytes},
		{"nothing came", "", 200, nil, most, countedMost},
		{"html", "<html>", 200, nil, most, countedMost},
		{"more than asked for", text + stop + strings.ReplaceAll(use, "3", "300"), 200, nil, tokens{7, 300}, countedUsage},
		{"usage that lies below 0", text + stop + strings.ReplaceAll(use, "3", "-3"), 200, nil, tokens{100, 10}, countedBytes},
		{"tool calls count", event(`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"abc","arguments":"{}"}}]}}]}`), 200, nil, tokens{100, 5}, countedBytes},
		{"refused", "no", 429, nil, tokens{}, countedNone},
		{"failed", "no", 500, nil, most, countedMost},
		{"unavailable", "no", 503, nil, tokens{}, countedNone},
	} {
		for split := range 3 {
			m := &meter{most: most, stream: true}
			rest := c.body
			for rest != "" {
				n := min(len(rest), []int{1, 7, math.MaxInt}[split])
				kept, err := m.write([]byte(rest[:n]))
				require.NoError(t, err)
				require.Equal(t, n, kept)
				rest = rest[n:]
			}
			got, how := m.spent(c.status, c.cause)
			require.Equal(t, []any{c.want, c.how}, []any{got, how}, c.name)
		}
	}
}

func TestOutline(t *testing.T) {
	_, most := outlineOf([]byte(`{"max_tokens":5,"n":3}`))
	require.Equal(t, tokens{in: 22 + promptExtra, out: 15}, most)
	o, most := outlineOf([]byte(`{"stream":true}`))
	require.True(t, o.stream && o.unbounded)
	require.Equal(t, int64(defaultAnswer), most.out)
	_, most = outlineOf([]byte(`{"max_tokens":5,"max_completion_tokens":9}`))
	require.Equal(t, int64(9), most.out)
	_, most = outlineOf([]byte(`{"max_tokens":99999999999999999999}`))
	require.LessOrEqual(t, most.total(), int64(2*maxTokens))
}

func FuzzMeter(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n"), true)
	f.Add([]byte(`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`), false)
	f.Fuzz(func(t *testing.T, data []byte, stream bool) {
		m := &meter{most: tokens{in: 10, out: 5}, stream: stream}
		_, _ = m.write(data)
		got, _ := m.spent(http.StatusOK, nil)
		if got.in < 0 || got.out < 0 || got.total() > 4*maxTokens {
			t.Fatalf("%+v", got)
		}
		_ = partsOf(data)
	})
}
