package server

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
	"github.com/stretchr/testify/require"

	"crayon/internal/hybrid"
	"crayon/internal/privacy"
	"crayon/internal/route"
	"crayon/internal/route/record"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

const (
	weatherTool = `{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}`
	weatherCall = `[{"index":0,"id":"call_abC9dEf1GhI2jKl3MnO4pQr5","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\"}"}}]`
)

func weatherParams(model string) openai.ChatCompletionNewParams {
	p := params(model, "weather in Paris?")
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "weather", Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}}})}
	return p
}

// TestToolsWithTheOfficialClient: a call of a tool and its result, whole and in a
// stream, under the base model and under customisations.
func TestToolsWithTheOfficialClient(t *testing.T) {
	w := newWorld(t, nil, fake.ToolCall(weatherCall), fake.Answer("sunny it is"), fake.ToolCall(weatherCall), fake.Answer("sunny it is"))
	computed := w.hybrid.Device.Model.Computed()
	for i, model := range []string{base + "+mine", base} {
		p := weatherParams(model)
		var res *http.Response
		var answer openai.ChatCompletionMessage
		if i == 0 {
			whole, err := w.client.Chat.Completions.New(t.Context(), p, option.WithResponseInto(&res))
			require.NoError(t, err)
			require.Equal(t, "tool_calls", string(whole.Choices[0].FinishReason))
			answer = whole.Choices[0].Message
		} else {
			acc, _, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), p, option.WithResponseInto(&res)))
			require.NoError(t, err)
			require.Zero(t, acc.Usage.TotalTokens, "not asked for")
			answer = acc.Choices[0].Message
		}
		require.Equal(t, []string{"server", "beyond-device", ""}, []string{res.Header.Get(route.HeaderRoute), res.Header.Get(route.HeaderReason), res.Header.Get(route.HeaderScope)})
		require.Len(t, answer.ToolCalls, 1)
		require.Equal(t, "weather", answer.ToolCalls[0].Function.Name)
		require.Equal(t, `{"city": "Paris"}`, answer.ToolCalls[0].Function.Arguments)

		p.Messages = append(p.Messages, answer.ToParam(), openai.ToolMessage("sunny", answer.ToolCalls[0].ID))
		if i == 0 {
			whole, err := w.client.Chat.Completions.New(t.Context(), p)
			require.NoError(t, err)
			require.Equal(t, "sunny it is", whole.Choices[0].Message.Content)
		} else {
			p.StreamOptions.IncludeUsage = openai.Bool(true)
			acc, _, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), p))
			require.NoError(t, err)
			require.Equal(t, "sunny it is", acc.Choices[0].Message.Content)
			require.EqualValues(t, 10, acc.Usage.TotalTokens)
		}
		call := w.fake.Calls()[2*i+1]
		require.Equal(t, fake.Model, call.Body.Model, "the server's, not what it is called here")
		require.Contains(t, call.Raw, `"role":"tool"`)
		require.Contains(t, call.Raw, `"tool_call_id":"call_abC9dEf1GhI2jKl3MnO4pQr5"`)
	}
	require.Equal(t, computed, w.hybrid.Device.Model.Computed(), "the device has no part in it")
	require.Contains(t, w.log.String(), `"reason":"beyond-device"`)
	require.NotContains(t, w.log.String(), "Paris")
	require.Contains(t, w.send("GET", "/metrics", "").body, `crayon_route_decisions_total{customisation="mine",route="server",reason="beyond-device"} 2`)
}

// TestBodyPassesUnchanged: what is the client's own reaches the server byte for
// byte; what is Crayon's does not.
func TestBodyPassesUnchanged(t *testing.T) {
	answer := `{"id":"x","object":"chat.completion","model":"big", "choices":[{"index":0,"message":{"role":"assistant","content":"{\"a\": 1.50}"},"logprobs":null,"finish_reason":"stop"}],
 "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"x_more":[1,  2]}`
	for name, fields := range map[string]string{
		"a schema":          `"response_format" : {"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"b":1,"a":1.50,"\u0061b":[ ]}}} `,
		"JSON mode":         `"response_format":{"type":"json_object"}`,
		"several answers":   `"n":2`,
		"penalties":         `"frequency_penalty":0.5,"presence_penalty":-1, "logit_bias":{"5":3}`,
		"a grammar":         `"grammar":"root ::= \"a\"","ignore_eos":true,"min_tokens":3`,
		"functions":         `"functions":[{"name":"f"}],"function_call":{"name":"f"}`,
		"forced tool":       `"tools":[` + weatherTool + `],"tool_choice":{"type":"function","function":{"name":"weather"}},"parallel_tool_calls":false`,
		"what is not known": `"tools":[` + weatherTool + `],"x_unknown":{"z":[1, 2],"private":true,"e":1e5},"user":"me","metadata":{"a":"b"},"store":false,"reasoning_effort":"low"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, fake.Raw(200, "application/json", answer))
			kept := fields + `,"temperature" : 0.70,"messages":[{"role":"user","name":"me","content":[{"type":"text","text":"hi \u00e4"}]}],"max_completion_tokens":9,"logprobs":true,"top_logprobs":2`
			r := w.post(chatPath, `{"private":false,`+kept+`,"model":"tiny+mine", "conversation" : "c-1"}`)
			require.Equal(t, http.StatusOK, r.status, r.body)
			require.Equal(t, answer, r.body, "in the server's own words")
			require.Equal(t, "application/json", r.header.Get("Content-Type"))
			sent := w.fake.Calls()[0].Raw
			require.Contains(t, sent, kept)
			rest := strings.Replace(sent, kept, "", 1)
			require.JSONEq(t, `{"model":"`+fake.Model+`","stream":false}`, strings.Replace(rest, "{,", "{", 1))
		})
	}
}

// TestStreamPassesUnchanged: several answers, with log-probabilities; the usage
// only if it was asked for; a cut is told as one, also when one answer was whole.
func TestStreamPassesUnchanged(t *testing.T) {
	chunks := []string{
		`{"id":"c","choices":[{"index":1,"delta":{"role":"assistant","content":""}}]}`,
		`{"id":"c","choices":[{"index":1,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-0.50}]}}]}`,
		`{"id":"c","choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":""}}}]}`,
		`{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}`,
	}
	last := `{"id":"c","choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}`
	used := `{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`
	event := func(all ...string) string { return "data: " + strings.Join(all, "\n\ndata: ") + "\n\n" }
	whole := append(append([]string{}, chunks...), last, used, "[DONE]")
	for name, c := range map[string]struct {
		step fake.Step
		more string
		want string
		cut  bool
	}{
		"usage withheld":    {step: fake.Events(false, whole...), want: event(append(append([]string{}, chunks...), last, "[DONE]")...)},
		"usage told":        {step: fake.Events(false, whole...), more: `,"stream_options":{"include_usage":true}`, want: event(whole...)},
		"cut":               {step: fake.Events(true, chunks...), want: event(chunks...), cut: true},
		"ended too early":   {step: fake.Events(false, chunks...), want: event(chunks...), cut: true},
		"chunks over lines": {step: fake.Events(false, strings.Replace(last, ",", ",\ndata:  ", 1), "[DONE]"), more: `,"n":1,"functions":[{}]`, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, c.step)
			one := int64(1000)
			behind(t, w, upstream.Limits{Tokens: &one})
			n := `,"n":2`
			if strings.Contains(c.more, `"n"`) {
				n = ""
			}
			r := w.post(chatPath, ask(base+"+desk", "why", `,"stream":true`+n+c.more))
			require.Equal(t, http.StatusOK, r.status, r.body)
			require.Equal(t, []string{"server", "beyond-device"}, []string{r.header.Get(route.HeaderRoute), r.header.Get(route.HeaderReason)})
			spent := w.spent(t)
			switch {
			case c.want == "":
				lines := strings.Split(strings.TrimSpace(r.body), "\n\n")
				require.Len(t, lines, 2, "each an event of one line: %s", r.body)
				require.JSONEq(t, last, strings.TrimPrefix(lines[0], "data: "))
			case c.cut:
				require.True(t, strings.HasPrefix(r.body, c.want), r.body)
				require.Contains(t, strings.TrimPrefix(r.body, c.want), `"code":"cut"`)
				require.NotContains(t, r.body, "[DONE]")
				require.NotEqual(t, int64(13), spent)
				require.NotZero(t, spent)
			default:
				require.Equal(t, c.want, r.body)
				require.Equal(t, int64(13), spent, "counted whether or not it was told")
			}
		})
	}
}

// spent is the tokens of the day.
func (w *world) spent(t *testing.T) int64 {
	t.Helper()
	st, err := w.server.opt.Budget.Status()
	require.NoError(t, err)
	require.Zero(t, st.All.Open)
	return st.All.Tokens
}

// TestBeyondTheDeviceIsRefused: where a server may not be asked, the error says
// what needs it and what to do; the device never answers.
func TestBeyondTheDeviceIsRefused(t *testing.T) {
	none := int64(0)
	tools := `,"tools":[` + weatherTool + `]`
	argument := `{"model":"tiny+mine","messages":[{"role":"user","content":"pay"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"pay","arguments":"{\"card\":\"4111 1111 1111 1111\"}"}}]},{"role":"tool","tool_call_id":"c","content":"done"}]}`
	result := `{"model":"tiny+mine","messages":[{"role":"user","content":"who"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"{\"to\": \"jane\\u0040example.org\"}"}]}`
	for _, c := range []struct {
		name    string
		set     func(*world)
		body    string
		headers []string
		status  int
		code    string
		param   string
		says    []string
		listed  bool
	}{
		{name: "device-only", set: func(w *world) { w.hybrid.Policy.Mode = route.DeviceOnly }, status: 400, code: "beyond-device", param: "tools", says: []string{"tools", "device alone", "CRAYON_ROUTE_MODE=auto"}},
		{name: "device-only by the key", set: func(w *world) { w.hybrid.Policy.KeyModes = map[string]route.Mode{"serve": route.DeviceOnly} }, status: 400, code: "beyond-device", says: []string{"route.key_modes", "serve=auto"}},
		{name: "the request names the device", headers: []string{route.HeaderRoute, "device"}, status: 400, code: "beyond-device", says: []string{"x-crayon-route"}},
		{name: "the request names device-only", headers: []string{route.HeaderRoute, "device-only"}, status: 400, code: "beyond-device", says: []string{"x-crayon-route"}},
		{name: "no server", set: func(w *world) { w.hybrid.Servers = nil }, status: 400, code: "beyond-device", says: []string{"no server is set", "CRAYON_SERVER_URL"}},
		{name: "no server, a tool's turn", set: func(w *world) { w.hybrid.Servers = nil }, body: argument, status: 400, code: "beyond-device", param: "messages[1].tool_calls", says: []string{"messages[1].tool_calls"}},
		{name: "no server, several", set: func(w *world) { w.hybrid.Servers = nil }, body: ask(base, "hi", `,"n":3,"response_format":{"type":"json_object"},"functions":[{}]`), status: 400, code: "beyond-device", param: "functions", says: []string{"functions, response_format, n"}},
		{name: "local-only", set: func(w *world) { w.hybrid.LocalOnly = true }, status: 403, code: "local-only", param: "tools", says: []string{"tools", "--local-only"}},
		{name: "private in an argument", body: argument, status: 403, code: "private", says: []string{"card"}, listed: true},
		{name: "private in a result", body: result, status: 403, code: "private", says: []string{"mail"}, listed: true},
		{name: "private in a definition", body: ask(base, "hi", `,"tools":[{"type":"function","function":{"name":"f","description":"ask jane.doe@example.org"}}]`), status: 403, code: "private", says: []string{"mail"}, listed: true},
		{name: "tagged", headers: []string{headerPrivate, "true"}, status: 403, code: "private", says: []string{"tagged"}, listed: true},
		{name: "tagged in the body", body: ask(base, "hi", tools+`,"private":true`), status: 403, code: "private", says: []string{"tagged"}, listed: true},
		{name: "a private customisation", set: func(w *world) { w.hybrid.Policy.Private = []string{"mine"} }, status: 403, code: "private", says: []string{"tagged"}, listed: true},
		{name: "private, and the server named", body: argument, headers: []string{route.HeaderRoute, "server"}, status: 403, code: "private", says: []string{"card"}, listed: true},
		{name: "over budget", set: func(w *world) { behind(t, w, upstream.Limits{Calls: &none}) }, status: 429, code: "over-budget", param: "tools", says: []string{"budget", "calls"}, listed: true},
		{name: "a customisation that is not there", body: ask(base+"+mina", "hi", tools), status: 404, code: "model_not_found", param: "model", says: []string{`"tiny+mine"`}},
		{name: "another model", body: ask("gpt-4o", "hi", tools), status: 404, code: "model_not_found", param: "model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			behind(t, w, upstream.Limits{})
			w.policy(never, never)
			if c.set != nil {
				c.set(w)
			}
			body := c.body
			if body == "" {
				body = ask(base+"+mine", "weather?", tools)
			}
			computed := w.hybrid.Device.Model.Computed()
			calls := 0
			for _, path := range []string{chatPath, "stream", "/api/route/decide"} {
				if path == "stream" {
					path, body = chatPath, strings.Replace(body, "{", `{"stream":true,`, 1)
				}
				if path == chatPath {
					calls++
				}
				r := w.post(path, body, c.headers...)
				require.Equal(t, c.status, r.status, r.body)
				message, kind, param, code := r.error(t)
				require.Equal(t, c.code, code)
				if c.param != "" {
					require.Equal(t, c.param, param)
				}
				if c.status == 429 {
					require.Equal(t, "insufficient_quota", kind)
				}
				for _, s := range c.says {
					require.Contains(t, message, s)
				}
				require.NotContains(t, r.body, "4111")
				require.NotContains(t, r.body, "example.org")
				require.Empty(t, r.header.Get(route.HeaderDegraded))
			}
			require.Empty(t, w.fake.Calls())
			require.Equal(t, computed, w.hybrid.Device.Model.Computed())
			entries, err := w.server.opt.Ledger.Entries(time.Time{})
			require.NoError(t, err)
			if !c.listed {
				require.Empty(t, entries)
				return
			}
			require.Len(t, entries, calls, "asking who would answer lists nothing")
			for _, e := range entries {
				require.True(t, e.Refused())
				require.Equal(t, c.code, e.Why)
			}
		})
	}
}

// TestPrivateToolsStayThoughRedacting: what has tools is not redacted, since a
// call's arguments must be true.
func TestPrivateToolsStayThoughRedacting(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("large"))
	redact, err := privacy.New(privacy.Options{Redact: true})
	require.NoError(t, err)
	gate := upstream.New(upstream.Options{Ledger: upstream.LedgerAt(filepath.Join(t.TempDir(), "l.jsonl")), Privacy: redact})
	t.Cleanup(gate.Close)
	w.hybrid.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Retries: -1}})
	require.NoError(t, err)
	w.policy(always, never)
	require.Equal(t, http.StatusOK, w.post(chatPath, ask(base+"+mine", "mail jane.doe@example.org", "")).status)
	require.NotContains(t, w.fake.Calls()[0].Raw, "jane")
	tools := `,"tools":[` + weatherTool + `]`
	r := w.post(chatPath, ask(base+"+mine", "mail jane.doe@example.org", tools+`,"conversation":"c"`))
	require.Equal(t, http.StatusForbidden, r.status)
	require.Len(t, w.fake.Calls(), 1)
	// Its conversation stays too, with tools and without.
	require.Equal(t, http.StatusForbidden, w.post(chatPath, ask(base+"+mine", "hi", tools+`,"conversation":"c"`)).status)
	r = w.post(chatPath, ask(base+"+mine", "hi", `,"conversation":"c"`))
	require.Equal(t, []string{"device", "private"}, []string{r.header.Get(route.HeaderRoute), r.header.Get(route.HeaderReason)})
	require.Len(t, w.fake.Calls(), 1)
}

// TestPrivateToolsForTheDeviceAloneTaint: what was never to leave keeps the rest
// of its conversation here.
func TestPrivateToolsForTheDeviceAloneTaint(t *testing.T) {
	w := newWorld(t, nil)
	body := ask(base, "card 4111 1111 1111 1111", `,"n":2,"conversation":"c"`)
	require.Equal(t, http.StatusBadRequest, w.post(chatPath, body, route.HeaderRoute, "device").status)
	require.Equal(t, http.StatusForbidden, w.post(chatPath, ask(base, "hi", `,"n":2,"conversation":"c"`)).status)
	require.Equal(t, http.StatusOK, w.post(chatPath, ask(base, "hi", `,"n":2,"conversation":"d"`)).status)
}

// TestServerFaultsBeyondTheDevice: nobody falls back, in any mode; what the server
// has against the client's own request is told as the client's error.
func TestServerFaultsBeyondTheDevice(t *testing.T) {
	for _, c := range []struct {
		name   string
		step   fake.Step
		status int
		code   string
	}{
		{"dead", fake.Drop(), 502, "dead"},
		{"failing", fake.Fail(500, 0, "out of memory"), 502, "server-error"},
		{"busy", fake.Fail(429, 0, "wait"), 502, "rate-limited"},
		{"nonsense", fake.HTML(), 502, "nonsense"},
		{"half", fake.HalfJSON(), 502, ""},
		{"a schema it does not take", fake.Fail(400, 0, "schema: no such keyword"), 400, "rejected"},
		{"another it does not take", fake.Fail(422, 0, "schema: no such keyword"), 400, "rejected"},
		{"no such model", fake.Fail(404, 0, "no such model"), 502, "rejected"},
		{"a wrong key", fake.Fail(401, 0, "no"), 502, "unauthorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, c.step)
			for _, mode := range []string{"", "prefer-device", "shadow", "server"} {
				w := w
				if c.status != 400 { // it would rest
					w = newWorld(t, nil, c.step)
				}
				for _, stream := range []string{"", `,"stream":true`} {
					r := w.post(chatPath, ask(base+"+mine", "hi", `,"n":2`+stream), route.HeaderRoute, mode)
					require.Equal(t, c.status, r.status, r.body)
					_, _, _, code := r.error(t)
					if c.code != "" {
						require.Equal(t, c.code, code)
					}
					require.Equal(t, []string{"server", "beyond-device", ""}, []string{r.header.Get(route.HeaderRoute), r.header.Get(route.HeaderReason), r.header.Get(route.HeaderDegraded)})
				}
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		w := newWorld(t, nil, fake.Slow(time.Minute, fake.Answer("late")))
		gate := upstream.New(upstream.Options{})
		t.Cleanup(gate.Close)
		var err error
		w.hybrid.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Model: "m", Retries: -1, Timeout: 50 * time.Millisecond}})
		require.NoError(t, err)
		for _, stream := range []string{"", `,"stream":true`} {
			require.Equal(t, http.StatusGatewayTimeout, w.post(chatPath, ask(base, "hi", `,"n":2`+stream)).status)
		}
	})
	t.Run("too long", func(t *testing.T) {
		w := newWorld(t, nil)
		gate := upstream.New(upstream.Options{})
		t.Cleanup(gate.Close)
		var err error
		w.hybrid.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Model: "m", Context: 60}})
		require.NoError(t, err)
		r := w.post(chatPath, ask(base, "hi", `,"n":2`))
		require.Equal(t, http.StatusBadRequest, r.status)
		_, _, _, code := r.error(t)
		require.Equal(t, "context_length_exceeded", code)
		require.Empty(t, w.fake.Calls())
	})
}

// TestDecideBeyond: who would answer, asking nobody.
func TestDecideBeyond(t *testing.T) {
	w := newWorld(t, nil)
	for _, query := range []string{"", "?draft=0"} {
		r := w.post("/api/route/decide"+query, ask(base+"+mine", "hi", `,"response_format":{"type":"json_object"}`))
		require.Equal(t, http.StatusOK, r.status, r.body)
		require.Contains(t, r.body, `"route":"server","reason":"beyond-device"`)
		require.Contains(t, r.body, `"final":true`)
	}
	require.Empty(t, w.fake.Calls())
}

// TestBeyondIsLogged: in the log of decisions and in the ledger as any query; its
// answer becomes no example.
func TestBeyondIsLogged(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("from afar"), fake.Fail(500, 0, "no"))
	behind(t, w, upstream.Limits{})
	w.hybrid.Records = record.Open(filepath.Join(t.TempDir(), "routing"))
	w.hybrid.Policy.Log, w.hybrid.Policy.Harvest = hybrid.LogText, hybrid.HarvestAsk
	body := ask(base+"+mine", "why", `,"response_format":{"type":"json_object"}`)
	require.Equal(t, http.StatusOK, w.post(chatPath, body).status)
	require.Equal(t, http.StatusBadGateway, w.post(chatPath, body).status)
	require.Equal(t, http.StatusForbidden, w.post(chatPath, body, headerPrivate, "true").status)
	var all []record.Entry
	_, err := w.hybrid.Records.Entries(func(e *record.Entry) error { all = append(all, *e); return nil })
	require.NoError(t, err)
	require.Len(t, all, 2, "what was refused was not decided")
	e := all[0]
	require.Equal(t, []any{"decision", "mine", "why", "server", "beyond-device", "auto", "ok", fake.Model, 7, 2}, []any{e.Kind, e.Name, e.Query, e.Route, e.Reason, e.Mode, e.Outcome, e.Model, e.Prompt, e.Tokens})
	require.False(t, e.Told(), "no calibration is judged by it")
	require.Equal(t, "failed", all[1].Outcome)
	candidates, err := w.hybrid.Records.Candidates("mine")
	require.NoError(t, err)
	require.Empty(t, candidates)
	entries, err := w.server.opt.Ledger.Entries(time.Time{})
	require.NoError(t, err)
	require.Equal(t, []any{"beyond-device", "serve", int64(len(w.fake.Calls()[0].Raw)), "usage"}, []any{entries[0].Why, entries[0].Key, entries[0].Out, entries[0].Counted})
}

// TestCompletionsStayHere: raw text is the device's, so what is beyond it is
// refused there.
func TestCompletionsStayHere(t *testing.T) {
	w := newWorld(t, nil)
	for field, more := range map[string]string{"n": `"n":2`, "grammar": `"grammar":"x"`, "logit_bias": `"logit_bias":{"5":3}`, "frequency_penalty": `"frequency_penalty":0.5`} {
		r := w.post("/v1/completions", `{"model":"tiny","prompt":"a",`+more+`}`)
		require.Equal(t, http.StatusBadRequest, r.status)
		_, _, param, code := r.error(t)
		require.Equal(t, []string{field, "unsupported_parameter"}, []string{param, code})
	}
	require.Empty(t, w.fake.Calls())
}

// TestOneLine: an event stays one, whatever its server sends.
func TestOneLine(t *testing.T) {
	for _, s := range []string{"{\"a\":\n1}", "{\r\n}", `{"a":"\n"}`, "\xff\n{}"} {
		out := oneLine([]byte(s))
		require.NotContains(t, string(out), "\n")
		require.Len(t, out, len(s))
		require.Equal(t, json.Valid([]byte(s)), json.Valid(out))
	}
}
