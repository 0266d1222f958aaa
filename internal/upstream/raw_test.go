package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"crayon/internal/fault"
	"crayon/internal/privacy"
	"crayon/internal/upstream/fake"

	"github.com/stretchr/testify/require"
)

// raw reads a stream's chunks as they come.
func rawChunks(t *testing.T, e *egress, body string) (chunks []string, reply Reply, err error) {
	t.Helper()
	st, err := e.servers.Stream(context.Background(), Request{Body: json.RawMessage(body), Key: "k"})
	if err != nil {
		return nil, Reply{}, err
	}
	defer st.Close()
	text := ""
	for st.Next() {
		chunks = append(chunks, string(st.Raw()))
		text += st.Delta()
	}
	require.Equal(t, text, st.Reply().Text)
	return chunks, st.Reply(), st.Err()
}

// The chunks of two answers at once, in the order in which servers send them.
var (
	twoRoles = []string{
		`{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
		`{"id":"c","model":"m","choices":[{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}],"x_more":  [1, 2]}`,
	}
	twoTexts = []string{
		`{"id":"c","model":"m","choices":[{"index":1,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-0.50,"bytes":[98],"top_logprobs":[]}]},"finish_reason":null}],"usage":null}`,
		`{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`,
		`{"id":"c","model":"m","choices":[]}`,
		`{"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
		`{"id":"c","model":"m","choices":[{"index":1,"delta":{"content":"bb"},"finish_reason":null}]}`,
	}
	twoEnd   = `{"id":"c","model":"m","choices":[{"index":1,"delta":{},"finish_reason":"length"}]}`
	twoUsage = `{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`
)

const twoBody = `{"messages":[{"role":"user","content":"hi"}],"n":2,"max_tokens":8}`

// TestRawChunks: every chunk is told as it came, of each answer; the usage that
// only the gate asked for is not.
func TestRawChunks(t *testing.T) {
	said := slices.Concat(twoRoles, twoTexts, []string{twoEnd})
	all := append(slices.Clone(said), twoUsage)
	for _, c := range []struct {
		name, body string
		send, want []string
	}{
		{"usage withheld", twoBody, append(slices.Clone(all), "[DONE]"), said},
		{"usage not wanted", strings.Replace(twoBody, "{", `{"stream_options":{"include_usage":false},`, 1), append(slices.Clone(all), "[DONE]"), said},
		{"usage wanted", strings.Replace(twoBody, "{", `{"stream_options":{"include_usage":true},`, 1), append(slices.Clone(all), "[DONE]"), all},
		{"without a last word", twoBody, all, said},
		{"one answer in place of two", twoBody, []string{twoTexts[1], twoTexts[3], twoUsage, "[DONE]"}, []string{twoTexts[1], twoTexts[3]}},
		{"function call", `{"functions":[{"name":"f"}],"messages":[]}`,
			[]string{twoRoles[0], `{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":""}}}]}`, `{"choices":[{"index":0,"delta":{"function_call":{"arguments":"{}"}}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}`},
			[]string{twoRoles[0], `{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":""}}}]}`, `{"choices":[{"index":0,"delta":{"function_call":{"arguments":"{}"}}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}`}},
		{"usage beside the end", `{"messages":[]}`,
			[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`},
			[]string{`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{Retries: -1}, []fake.Step{fake.Events(false, c.send...)})
			got, reply, err := rawChunks(t, e, c.body)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.NotEmpty(t, reply.FinishReason)
			sent := e.fakes[0].Calls()[0].Raw
			require.Contains(t, sent, `"include_usage":true`)
			// Counted by the usage, told or not.
			if strings.Contains(strings.Join(c.send, ""), "prompt_tokens") {
				require.Equal(t, Usage{9, 4, 13}, reply.Usage)
				require.Equal(t, int64(13), e.sums(t).Tokens)
				require.Equal(t, countedUsage, e.entries(t)[0].Counted)
			}
		})
	}
}

// TestRawCut: an answer is whole when all of its parts are, or when the server
// says so; half of it is never taken for all.
func TestRawCut(t *testing.T) {
	half := slices.Concat(twoRoles, twoTexts) // the first answer has ended, the second has not
	for _, c := range []struct {
		name string
		body string
		step fake.Step
		kind FailureKind
		told int
	}{
		{"broken after the first of two ended", twoBody, fake.Events(true, half...), Cut, 7},
		{"ended in good order after the first of two", twoBody, fake.Events(false, half...), Cut, 7},
		{"the second never began", twoBody, fake.Events(false, twoTexts[1], twoTexts[3]), Cut, 2},
		{"more than asked for, one of them open", `{"messages":[]}`, fake.Events(false, half...), Cut, 7},
		{"an error within", twoBody, fake.Events(false, append(slices.Clone(half), `{"error":{"message":"out of memory"}}`)...), Overloaded, 7},
		{"half a chunk", twoBody, fake.Events(false, append(slices.Clone(half), `{"choices":[{"ind`)...), Cut, 7},
		{"broken after all ended", twoBody, fake.Events(true, append(slices.Clone(half), twoEnd)...), "", 8},
		{"the server says so", twoBody, fake.Events(true, append(slices.Clone(half), "[DONE]")...), "", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{Retries: -1}, []fake.Step{c.step})
			got, _, err := rawChunks(t, e, c.body)
			require.Equal(t, c.kind, KindOf(err), "%v", err)
			require.Len(t, got, c.told)
			if c.kind != "" {
				// Of the second answer nothing is known but its bytes.
				require.Equal(t, countedBytes, e.entries(t)[0].Counted)
			}
		})
	}
	// Who has said nothing yet can be followed by another.
	for name, step := range map[string]fake.Step{
		"roles alone": fake.Events(true, twoRoles...), "roles, and a good end": fake.Events(false, twoRoles...),
		"nothing": fake.Events(false, "[DONE]"), "usage alone": fake.Events(false, twoUsage, "[DONE]"),
	} {
		e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{Retries: -1}, []fake.Step{step}, []fake.Step{fake.Events(false, append(slices.Clone(half), twoEnd)...)})
		got, _, err := rawChunks(t, e, twoBody)
		require.NoError(t, err, name)
		require.Len(t, got, 8, name)
	}
}

// TestUsageOfSeveral: what a usage told early leaves out is counted.
func TestUsageOfSeveral(t *testing.T) {
	most := tokens{100, 20}
	events := func(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }
	long := strings.Replace(twoTexts[4], "bb", "bbbbbb", 1)
	for _, c := range []struct {
		name, body string
		want       tokens
		how        string
	}{
		{"at the end", events(twoTexts[1], twoTexts[3], long, twoEnd, twoUsage), tokens{9, 4}, countedUsage},
		{"at the end of one in place of two", events(twoTexts[1], twoTexts[3], twoUsage), tokens{9, 4}, countedUsage},
		{"early", events(twoTexts[1], twoTexts[3], twoUsage, long), tokens{100, 7}, countedBytes},
		{"beside the end of the first", events(long, strings.Replace(twoTexts[3], `}]}`, `}],"usage":{"prompt_tokens":9,"completion_tokens":4}}`, 1), twoTexts[0]), tokens{100, 7}, countedBytes},
	} {
		m := newMeter([]byte(`{"n":2,"stream":true,"max_tokens":10}`))
		m.most = most
		_, err := m.write([]byte(c.body))
		require.NoError(t, err)
		got, how := m.spent(200, nil)
		require.Equal(t, []any{c.want, c.how}, []any{got, how}, c.name)
	}
	m := newMeter([]byte(`{"n":2,"max_tokens":10}`))
	_, err := m.write([]byte(`{"choices":[{"index":0,"finish_reason":"stop","message":{"content":"a"}},{"index":1,"finish_reason":"stop","message":{"content":"b"}}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`))
	require.NoError(t, err)
	got, how := m.spent(200, nil)
	require.Equal(t, []any{tokens{9, 4}, countedUsage}, []any{got, how})
}

// TestOutlineByName: names are the server's own, not like them.
func TestOutlineByName(t *testing.T) {
	for body, longest := range map[string]int64{`{"Max_Tokens":5}`: 0, `{"max_to\u212Aens":5}`: 0, `{"max_to\u006bens":5}`: 5, `{"max_tokens":"5"}`: 0, `{"max_tokens":1e2}`: 100, `{"max_tokens":-1}`: 0, `{"max_tokens":null}`: 0, `[5]`: 0, `{"max_tokens":5`: 0} {
		o, _ := outlineOf([]byte(body))
		require.Equal(t, longest, o.longest, body)
		require.Equal(t, longest == 0, o.unbounded, body)
	}
	for body, n := range map[string]int64{`{"N":5}`: 1, `{"n":2.0}`: 2, `{"n":0}`: 1, `{"n":-3}`: 1, `{"n":1e99}`: maxChoices, `{}`: 1} {
		o, most := outlineOf([]byte(body))
		require.Equal(t, n, o.choices, body)
		require.Equal(t, n*defaultAnswer, most.out)
	}
}

// TestFieldsTwice: a field of which one reader takes the first and another the
// last does not leave.
func TestFieldsTwice(t *testing.T) {
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	for _, bad := range []string{
		`{"n":1,"n":128,"messages":[]}`, `{"messages":[],"messages":[]}`, `{"max_tokens":1,"max\u005ftokens":9}`,
		`{"messages":[],"stream_options":{"include_usage":true,"include_usage":false}}`, `{"stream_options":{},"stream_options":{}}`,
	} {
		for _, stream := range []bool{false, true} {
			var err error
			if stream {
				_, err = e.servers.Stream(context.Background(), Request{Body: json.RawMessage(bad)})
			} else {
				_, err = e.servers.Complete(context.Background(), Request{Body: json.RawMessage(bad)})
			}
			require.Equal(t, fault.ExitUsage, fault.Code(err), bad)
			require.ErrorContains(t, err, "twice")
		}
	}
	require.Empty(t, e.fakes[0].Calls())
}

func TestWithout(t *testing.T) {
	for in, want := range map[string]string{
		`{"private":true}`: `{}`, `{ "a" : [1,  2.50] ,"Private":1, "b":{"private":2}}`: `{ "a" : [1,  2.50] , "b":{"private":2}}`,
		`{"priv\u0061te":{"x":1},"con\u017fersation":1,"c":"private"}`: `{"con\u017fersation":1,"c":"private"}`,
		`{"CONVER\u017fation":"x" ,"z":"\ud800"}`:                      `{"z":"\ud800"}`, `{"a.b":1,"*":2,"":3,"private":4}`: `{"a.b":1,"*":2,"":3}`,
	} {
		got, err := Without(json.RawMessage(in), "private", "conversation")
		require.NoError(t, err, in)
		require.Equal(t, want, string(got), in)
	}
	for _, bad := range []string{``, `null`, `[]`, `{"a":`, `{"private":1,"private":2}`} {
		_, err := Without(json.RawMessage(bad), "private")
		require.Error(t, err, bad)
	}
}

func FuzzWithout(f *testing.F) {
	f.Add([]byte(`{ "a" : [1,  2.50] ,"Private":1, "b":{"private":2}}`))
	f.Add([]byte(`{"priv\u0061te":{"x":1},"a.b|#*?":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := Without(data, "private")
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(data, &before) != nil || json.Unmarshal(out, &after) != nil {
			t.Fatalf("%q of %q", out, data)
		}
		for name := range before {
			if strings.EqualFold(name, "private") {
				delete(before, name)
			}
		}
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("%q of %q", out, data)
		}
	})
}

// TestContextOfABody: the length that a client set itself counts.
func TestContextOfABody(t *testing.T) {
	e := newEgress(t, Options{}, BudgetOptions{}, ServerOptions{Context: 1000}, []fake.Step{fake.Answer("ok")})
	ask := func(more string) error {
		_, err := e.servers.Complete(context.Background(), Request{Body: json.RawMessage(`{"messages":[{"role":"user","content":"hi"}]` + more + `}`)})
		return err
	}
	require.NoError(t, ask(`,"max_tokens":900`))
	require.NoError(t, ask(`,"max_tokens":900,"n":4`), "each has the context for itself")
	require.NoError(t, ask(``))
	require.Equal(t, TooLong, KindOf(ask(`,"max_tokens":1000`)))
	require.Equal(t, TooLong, KindOf(ask(`,"max_completion_tokens":1000`)))
}

// TestPrivateInABody: wherever a body can hold it, what is private is found; ids
// and schemas are not taken for it.
func TestPrivateInABody(t *testing.T) {
	words, err := privacy.New(privacy.Options{Words: []string{"Müller"}})
	require.NoError(t, err)
	e := newEgress(t, Options{Privacy: words}, BudgetOptions{}, ServerOptions{}, []fake.Step{fake.Answer("ok")})
	call := func(id, arguments string) string {
		quoted, err := json.Marshal(arguments)
		require.NoError(t, err)
		return `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"` + id + `","type":"function","function":{"name":"f","arguments":` + string(quoted) + `}}]},{"role":"tool","tool_call_id":"` + id + `","content":"sunny"}]}`
	}
	result := func(content string) string {
		quoted, err := json.Marshal(content)
		require.NoError(t, err)
		return `{"messages":[{"role":"tool","tool_call_id":"call_1","content":` + string(quoted) + `}]}`
	}
	check := func(body string) error {
		_, err := e.servers.Complete(context.Background(), Request{Body: json.RawMessage(body)})
		return err
	}
	deep := `{"to":"jane\u0040example.org"}`
	for range 3 {
		quoted, err := json.Marshal(deep)
		require.NoError(t, err)
		deep = `{"inner":` + string(quoted) + `}`
	}
	for name, body := range map[string]string{
		"an argument":                  call("call_1", `{"card":"4111 1111 1111 1111"}`),
		"an argument that is a number": call("call_1", `{"card":4111111111111111}`),
		"an escaped argument":          call("call_1", `{"to":"jane\u0040example.org"}`),
		"an escaped pair":              call("call_1", `{"card":"\ud835\udfd2111 1111 1111 1111"}`),
		"an argument cut short":        call("call_1", `{"name":"M\u00fcl\u006cer`),
		"a result":                     result(`{"mail": "jane.doe@example.org"}`),
		"a result in ASCII":            result(`{"name": "M\u00fcller"}`),
		"a result within a result":     result(deep),
		"a result without end":         result(strings.Repeat(`\`, 5000)),
		"a result in parts":            `{"messages":[{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"jane.doe@example.org"}]}]}`,
		"the id of a call":             call("4111111111111111", `{}`),
		"the id of a call, prefixed":   call("call_4111111111111111", `{}`),
		"a key as an id":               call("ghp_16C7e42F292c6912E7710c838347Ae178B4a", `{}`),
		"a function's result":          `{"messages":[{"role":"function","name":"f","content":"card 4111 1111 1111 1111"}]}`,
		"a function's arguments":       `{"messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"m\":\"jane.doe@example.org\"}"}}]}`,
		"the name of who speaks":       `{"messages":[{"role":"user","name":"jane.doe@example.org","content":"hi"}]}`,
		"a tool's description":         `{"tools":[{"type":"function","function":{"name":"f","description":"mail jane.doe@example.org"}}],"messages":[]}`,
		"a tool's name":                `{"tools":[{"type":"function","function":{"name":"card 4111111111111111"}}],"messages":[]}`,
		"a default in a schema":        `{"tools":[{"type":"function","function":{"parameters":{"properties":{"to":{"default":"jane.doe@example.org"}}}}}],"messages":[]}`,
		"a property's name":            `{"tools":[{"type":"function","function":{"parameters":{"properties":{"jane.doe@example.org":{}}}}}],"messages":[]}`,
		"an enum":                      `{"response_format":{"type":"json_schema","json_schema":{"schema":{"enum":["4111 1111 1111 1111"]}}},"messages":[]}`,
		"metadata":                     `{"metadata":{"password":"hunter2-and-more"},"messages":[]}`,
		"a stop string":                `{"stop":["jane.doe@example.org"],"messages":[]}`,
		"a prediction":                 `{"prediction":{"type":"content","content":"jane.doe@example.org"},"messages":[]}`,
		"a message that is replaced":   `{"messages":[{"role":"user","content":"jane.doe@example.org","content":"hi"}]}`,
		"a name that is there twice":   `{"metadata":{"a":"jane.doe@example.org","a":"b"},"messages":[]}`,
		"a role":                       `{"messages":[{"role":"4111111111111111","content":"hi"}]}`,
		"a card over two turns":        `{"messages":[{"role":"user","content":"my card: 4111 1111"},{"role":"tool","tool_call_id":"c","content":"1111 1111"}]}`,
	} {
		err := check(body)
		var p *Private
		require.ErrorAs(t, err, &p, name)
		require.NotContains(t, err.Error(), "jane")
	}
	require.Empty(t, e.fakes[0].Calls())
	for name, body := range map[string]string{
		"OpenAI's id":      call("call_abC9dEf1GhI2jKl3MnO4pQr5", `{"city":"Paris"}`),
		"llama.cpp's id":   call("a1B2c3D4e5F6g7H8i9J0kLmNoPqRsTuV", `{"city":"Paris\nand \"Rome\""}`),
		"a longer id":      call("call_a1B2c3D4e5F6g7H8i9J0kLmNoPqRsTuVwXyZ", `{}`),
		"vLLM's id":        call("chatcmpl-tool-8b1e4f3a2c5d6e7f8091a2b3c4d5e6f7", `{}`),
		"Mistral's id":     call("D681PevKs", `{}`),
		"an id of digits":  call("1234567890", `{}`),
		"a schema":         `{"tools":[{"type":"function","function":{"name":"login","strict":true,"parameters":{"type":"object","properties":{"password":{"type":"string"},"phone":{"type":"string","pattern":"^\\+?[0-9]{7,15}$"},"token":{"type":"string","maxLength":1000000000}},"required":["password"],"additionalProperties":false}}}],"tool_choice":"required","parallel_tool_calls":false,"messages":[{"role":"user","content":"log me in"}]}`,
		"a path":           result(`C:\new\users\table.txt`),
		"lines and quotes": result(`{"forecast": "sunny\nwindy \u00b0C", "max": 21.5}`),
	} {
		require.NoError(t, check(body), name)
	}
}
