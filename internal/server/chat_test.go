package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/upstream/fake"
)

func chatMessageOf(text string) chat.Message { return chat.Message{Role: "user", Content: text} }

func params(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, MaxTokens: openai.Int(40), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

// read collects a stream.
func read(st *ssestream.Stream[openai.ChatCompletionChunk]) (acc openai.ChatCompletionAccumulator, chunks int, err error) {
	defer st.Close()
	for st.Next() {
		acc.AddChunk(st.Current())
		chunks++
	}
	return acc, chunks, st.Err()
}

// TestOfficialClient: chat with the official Go client, whole and in a stream,
// with the base model and with both kinds of customisation.
func TestOfficialClient(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", "mine", "desk"} {
		id := base
		c, err := w.server.shelf.find(t.Context(), base)
		require.NoError(t, err)
		require.Nil(t, c)
		if name != "" {
			id = base + "+" + name
			c, err = w.server.shelf.find(t.Context(), id)
			require.NoError(t, err)
		}
		own := w.alone(c, "why does the wheel wobble", 40)
		require.NotEmpty(t, own.Text)

		var res *http.Response
		whole, err := w.client.Chat.Completions.New(t.Context(), params(id, "why does the wheel wobble"), option.WithResponseInto(&res))
		require.NoError(t, err)
		require.Equal(t, own.Text, whole.Choices[0].Message.Content)
		require.Equal(t, own.Finish, string(whole.Choices[0].FinishReason))
		require.EqualValues(t, "assistant", whole.Choices[0].Message.Role)
		require.EqualValues(t, own.Tokens, whole.Usage.CompletionTokens)
		require.EqualValues(t, own.PromptTokens, whole.Usage.PromptTokens)
		require.EqualValues(t, own.PromptTokens+own.Tokens, whole.Usage.TotalTokens)
		require.Equal(t, id, whole.Model)
		require.EqualValues(t, "chat.completion", whole.Object)
		require.Equal(t, "device", res.Header.Get(route.HeaderRoute))
		require.NotEmpty(t, res.Header.Get(route.HeaderReason))
		require.NotEmpty(t, res.Header.Get("x-request-id"))

		p := params(id, "why does the wheel wobble")
		p.StreamOptions.IncludeUsage = openai.Bool(true)
		acc, chunks, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), p))
		require.NoError(t, err)
		require.Equal(t, own.Text, acc.Choices[0].Message.Content)
		require.Equal(t, own.Finish, string(acc.Choices[0].FinishReason))
		require.EqualValues(t, own.Tokens, acc.Usage.CompletionTokens)
		if name != "desk" {
			require.Greater(t, chunks, 5, "it did not come in pieces")
		}
	}
}

// TestStreamForm looks at the bytes of a stream.
func TestStreamForm(t *testing.T) {
	w := newWorld(t, nil)
	for _, withUsage := range []bool{false, true} {
		r := w.post(chatPath, ask(base, "hello", fmt.Sprintf(`,"stream":true,"stream_options":{"include_usage":%v}`, withUsage)))
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, "text/event-stream", r.header.Get("Content-Type"))
		events := strings.Split(strings.TrimSuffix(r.body, "\n\n"), "\n\n")
		require.Equal(t, "data: [DONE]", events[len(events)-1])
		var finish, used, id = 0, 0, ""
		for i, e := range events[:len(events)-1] {
			var chunk struct {
				ID, Object string
				Choices    []struct {
					Delta  map[string]any
					Finish *string `json:"finish_reason"`
				}
				Usage *usage
			}
			require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &chunk), e)
			require.Equal(t, "chat.completion.chunk", chunk.Object)
			if id == "" {
				id = chunk.ID
				require.Equal(t, "assistant", chunk.Choices[0].Delta["role"])
			}
			require.Equal(t, id, chunk.ID)
			if chunk.Usage != nil {
				used++
				require.Empty(t, chunk.Choices)
				require.Equal(t, len(events)-2, i)
				continue
			}
			if chunk.Choices[0].Finish != nil {
				finish++
				require.Empty(t, chunk.Choices[0].Delta)
			}
		}
		require.Equal(t, 1, finish)
		require.Equal(t, map[bool]int{true: 1}[withUsage], used)
	}
}

func TestSamplingFields(t *testing.T) {
	w := newWorld(t, nil)
	text := func(more string) string {
		t.Helper()
		r := w.post(chatPath, ask(base, "tell me", more))
		require.Equal(t, http.StatusOK, r.status, r.body)
		var c chatObject
		require.NoError(t, json.Unmarshal([]byte(r.body), &c))
		return *c.Choices[0].Message.Content
	}
	greedy := text("")
	require.Equal(t, greedy, text(`,"temperature":0,"seed":5`))
	require.Equal(t, greedy, text(`,"temperature":2,"top_k":1`))
	hot := text(`,"temperature":2,"seed":5`)
	require.NotEqual(t, greedy, hot)
	require.Equal(t, hot, text(`,"temperature":2,"seed":5`))
	require.NotEqual(t, hot, text(`,"temperature":2,"seed":6`))
	require.NotEqual(t, text(`,"temperature":2`), text(`,"temperature":2`), "without a seed every answer is another")
	require.Less(t, len(text(`,"max_completion_tokens":3`)), len(greedy))
	runes := []rune(greedy)
	stop, err := json.Marshal(string(runes[4:7]))
	require.NoError(t, err)
	before, _, found := strings.Cut(greedy, string(runes[4:7]))
	require.True(t, found)
	require.Equal(t, before, text(`,"stop":`+string(stop)))
	require.Equal(t, before, text(`,"stop":["never there",`+string(stop)+`]`))
	// What clients send that asks for nothing.
	require.Equal(t, greedy, text(`,"n":1,"user":"me","logit_bias":{},"tools":[],"functions":null,"tool_choice":"none","presence_penalty":0,"response_format":{"type":"text"},"metadata":{"a":"b"},"store":false,"made_up":[1,2]`))
	// Content in parts, and the newer name of the system's role.
	r := w.post(chatPath, `{"model":"tiny","max_tokens":40,"messages":[{"role":"user","content":[{"type":"text","text":"tell me"}]}]}`)
	require.Contains(t, r.body, `"finish_reason"`)
	a := w.post(chatPath, `{"model":"tiny","max_tokens":9,"messages":[{"role":"developer","content":"x"},{"role":"user","content":"y"}]}`)
	b := w.post(chatPath, `{"model":"tiny","max_tokens":9,"messages":[{"role":"system","content":"x"},{"role":"user","content":"y"}]}`)
	require.Equal(t, strings.Split(a.body, `"choices"`)[1], strings.Split(b.body, `"choices"`)[1])
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, nil)
	hi := `"messages":[{"role":"user","content":"hi"}]`
	for _, c := range []struct{ name, body, param, says string }{
		{"empty", ``, "", "JSON"},
		{"half", `{"model":`, "", "JSON"},
		{"null", `null`, "", "JSON"},
		{"list", `[]`, "", "JSON"},
		{"two", `{"model":"tiny",` + hi + `} {}`, "", "JSON"},
		{"no model", `{` + hi + `}`, "model", "missing"},
		{"model of another type", `{"model":3,` + hi + `}`, "model", "number"},
		{"no messages", `{"model":"tiny"}`, "messages", "missing"},
		{"empty messages", `{"model":"tiny","messages":[]}`, "messages", "empty"},
		{"answer last", `{"model":"tiny","messages":[{"role":"assistant","content":"hi"}]}`, "messages", "last"},
		{"role", `{"model":"tiny","messages":[{"role":"robot","content":"hi"}]}`, "messages[0].role", "robot"},
		{"tool without content", `{"model":"tiny","messages":[{"role":"tool","tool_call_id":"c"}]}`, "messages[0].content", "missing"},
		{"assistant without content", `{"model":"tiny","messages":[{"role":"assistant","content":null,"tool_calls":[]},{"role":"user","content":"hi"}]}`, "messages[0].content", "missing"},
		{"picture beside tools", `{"model":"tiny","tools":[{"type":"function"}],"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, "messages[0].content[0]", "image_url"},
		{"field twice", `{"model":"tiny","tools":[{"type":"function"}],"seed":1,"seed":2,` + hi + `}`, "", "twice"},
		{"no role", `{"model":"tiny","messages":[{"content":"hi"}]}`, "messages[0].role", "missing"},
		{"no content", `{"model":"tiny","messages":[{"role":"user"}]}`, "messages[0].content", "missing"},
		{"content", `{"model":"tiny","messages":[{"role":"user","content":3}]}`, "messages[0].content", "neither"},
		{"picture", `{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, "messages[0].content[0]", "image_url"},
		{"n", `{"model":"tiny","n":0,` + hi + `}`, "n", "between"},
		{"n above", `{"model":"tiny","n":129,` + hi + `}`, "n", "between"},
		{"temperature", `{"model":"tiny","temperature":-1,` + hi + `}`, "temperature", "between"},
		{"temperature above", `{"model":"tiny","temperature":2.5,` + hi + `}`, "temperature", "between"},
		{"top_p", `{"model":"tiny","top_p":1.5,` + hi + `}`, "", "top_p"},
		{"max_tokens", `{"model":"tiny","max_tokens":0,` + hi + `}`, "max_tokens", "at least 1"},
		{"max_tokens type", `{"model":"tiny","max_tokens":"many",` + hi + `}`, "max_tokens", "string"},
		{"stop", `{"model":"tiny","stop":{"a":1},` + hi + `}`, "stop", "neither"},
		{"stops", `{"model":"tiny","stop":["a","b","c","d","e"],` + hi + `}`, "stop", "at most 4"},
		{"top_logprobs", `{"model":"tiny","logprobs":true,"top_logprobs":21,` + hi + `}`, "top_logprobs", "between"},
		{"top_logprobs alone", `{"model":"tiny","top_logprobs":2,` + hi + `}`, "top_logprobs", "logprobs"},
		{"one choice", `{"model":"tiny","guided_choice":["yes"],` + hi + `}`, "", "2 to"},
		{"a choice twice", `{"model":"tiny","structured_outputs":{"choice":["yes","yes"]},` + hi + `}`, "", "twice"},
		{"choices of another type", `{"model":"tiny","guided_choice":"yes",` + hi + `}`, "guided_choice", "string"},
		{"choices in both forms", `{"model":"tiny","guided_choice":["a","b"],"structured_outputs":{"choice":["a","b"]},` + hi + `}`, "structured_outputs", "both"},
		{"empty question", `{"model":"tiny+mine","messages":[{"role":"user","content":""}]}`, "", "empty"},
		{"long question", `{"model":"tiny","messages":[{"role":"user","content":"` + strings.Repeat("long ", 3000) + `"}]}`, "", "context"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, stream := range []string{"", `{"stream":true,`} {
				body := c.body
				if stream != "" {
					body = strings.Replace(body, "{", stream, 1)
				}
				r := w.post(chatPath, body)
				require.Equal(t, http.StatusBadRequest, r.status, r.body)
				message, kind, param, code := r.error(t)
				require.Contains(t, message, c.says)
				require.Equal(t, c.param, param)
				require.Equal(t, "invalid_request_error", kind)
				if c.name == "long question" {
					require.Equal(t, "context_length_exceeded", code)
				}
			}
		})
	}
}

// The answer is one of the choices that a request names, in either of vLLM's
// forms; other forms of structured outputs are beyond the device.
func TestGuidedChoice(t *testing.T) {
	w := newWorld(t, nil)
	for _, model := range []string{"tiny", "tiny+mine"} {
		for _, form := range []string{`"guided_choice":["to the north","to the south"]`, `"structured_outputs":{"choice":["to the north","to the south"]}`,
			`"guided_choice":["to the north","to the south"],"structured_outputs":{}`, `"guided_choice":["to the north","to the south"],"structured_outputs":null`} {
			r := w.post(chatPath, `{"model":"`+model+`",`+form+`,"messages":[{"role":"user","content":"where is it"}]}`)
			require.Equal(t, http.StatusOK, r.status, r.body)
			require.Regexp(t, `"content":"to the (north|south)"`, r.body)
		}
	}
	r := w.post(chatPath, `{"model":"tiny","structured_outputs":{"choice":["a","b"],"regex":"a+"},"messages":[{"role":"user","content":"where is it"}]}`)
	require.Contains(t, r.body, "fake-large", "the server LLM answers")
}

// TestLogProbs: those of a chat's tokens are the model's own.
func TestChatLogProbs(t *testing.T) {
	w := newWorld(t, nil)
	p := params(base+"+mine", "why does the wheel wobble")
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(2)
	whole, err := w.client.Chat.Completions.New(t.Context(), p)
	require.NoError(t, err)
	probs := whole.Choices[0].Logprobs.Content
	require.NotEmpty(t, probs)
	var bytes []byte
	for _, x := range probs {
		require.Len(t, x.TopLogprobs, 2)
		require.Equal(t, x.Token, x.TopLogprobs[0].Token, "greedy takes the likeliest")
		require.Equal(t, x.Logprob, x.TopLogprobs[0].Logprob)
		require.LessOrEqual(t, x.Logprob, 0.0)
		require.GreaterOrEqual(t, math.Exp(x.Logprob), math.Exp(x.TopLogprobs[1].Logprob))
		for _, b := range x.Bytes {
			bytes = append(bytes, byte(b))
		}
	}
	require.Equal(t, whole.Choices[0].Message.Content, string([]rune(string(bytes))))

	acc, _, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), p))
	require.NoError(t, err)
	require.Equal(t, whole.Choices[0].Message.Content, acc.Choices[0].Message.Content)
	require.Len(t, acc.Choices[0].Logprobs.Content, len(probs))

	label := params(base+"+desk", "the rear one slips")
	label.Logprobs = openai.Bool(true)
	chosen, err := w.client.Chat.Completions.New(t.Context(), label)
	require.NoError(t, err)
	var text strings.Builder
	for _, x := range chosen.Choices[0].Logprobs.Content {
		text.WriteString(x.Token)
	}
	require.Equal(t, chosen.Choices[0].Message.Content, text.String())
}

// TestRouting: the paths to either side, by their headers.
func TestRouting(t *testing.T) {
	for _, c := range []struct {
		name              string
		scope, confidence float32
		local, noServer   bool
		force             string
		model             string
		step              fake.Step
		route, reason     string
		degraded          string
	}{
		{name: "in scope", scope: never, confidence: never, model: "tiny+mine", route: "device", reason: "in-scope"},
		{name: "out of scope", scope: always, confidence: never, model: "tiny+mine", route: "server", reason: "out-of-scope"},
		{name: "out of scope, labels", scope: always, confidence: never, model: "tiny+desk", route: "server", reason: "out-of-scope"},
		{name: "low confidence", scope: never, confidence: always, model: "tiny+mine", route: "server", reason: "low-confidence"},
		{name: "low confidence of the base model", scope: never, confidence: always, model: "tiny", route: "server", reason: "low-confidence"},
		{name: "dead server", scope: always, confidence: never, model: "tiny+mine", step: fake.Drop(), route: "device", reason: "server-failed", degraded: "true"},
		{name: "dead server after a draft", scope: never, confidence: always, model: "tiny+mine", step: fake.Drop(), route: "device", reason: "server-failed", degraded: "true"},
		{name: "local only", scope: always, confidence: never, local: true, model: "tiny+mine", route: "device", reason: "local-only", degraded: "true"},
		{name: "no server", scope: always, confidence: never, noServer: true, model: "tiny+mine", route: "device", reason: "no-server", degraded: "true"},
		{name: "forced to the device", scope: always, confidence: never, force: "device", model: "tiny+mine", route: "device", reason: "forced"},
		{name: "forced to the server", scope: never, confidence: never, force: "server", model: "tiny", route: "server", reason: "forced"},
		{name: "left open", scope: never, confidence: never, force: "auto", model: "tiny+mine", route: "device", reason: "in-scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := c.step
			if step == nil {
				step = fake.Answer("from the large one")
			}
			w := newWorld(t, nil, step)
			w.policy(c.scope, c.confidence)
			w.hybrid.LocalOnly = c.local
			if c.noServer {
				w.hybrid.Servers = nil
			}
			for _, stream := range []bool{false, true} {
				r := w.post(chatPath, ask(c.model, "why", fmt.Sprintf(`,"stream":%v`, stream)), route.HeaderRoute, c.force)
				require.Equal(t, http.StatusOK, r.status, r.body)
				require.Equal(t, c.route, r.header.Get(route.HeaderRoute))
				require.Equal(t, c.reason, r.header.Get(route.HeaderReason))
				require.Equal(t, c.degraded, r.header.Get(route.HeaderDegraded))
				if c.model != "tiny" {
					require.NotEmpty(t, r.header.Get(route.HeaderScope))
					require.Contains(t, r.header.Get(route.HeaderThreshold), "scope=")
				}
				if c.reason == "low-confidence" {
					require.NotEmpty(t, r.header.Get(route.HeaderConfidence))
				}
				if stream {
					require.Contains(t, r.body, "[DONE]")
				}
				if c.route == "server" && !stream {
					require.Contains(t, r.body, "from the large one")
					require.Contains(t, r.body, `"completion_tokens":4`)
				}
			}
			if c.route == "device" && c.step == nil {
				require.Empty(t, w.fake.Calls())
			}
		})
	}
}

func TestForcedSideThatCannotBe(t *testing.T) {
	w := newWorld(t, nil)
	r := w.post(chatPath, ask(base, "why", ""), route.HeaderRoute, "both")
	require.Equal(t, http.StatusBadRequest, r.status)
	message, _, param, _ := r.error(t)
	require.Equal(t, route.HeaderRoute, param)
	require.Contains(t, message, "both")

	w.hybrid.Servers = nil
	r = w.post(chatPath, ask(base, "why", ""), route.HeaderRoute, "server")
	require.Equal(t, http.StatusBadRequest, r.status)
	w.hybrid.LocalOnly = true
	r = w.post(chatPath, ask(base, "why", ""), route.HeaderRoute, "server")
	require.Equal(t, http.StatusForbidden, r.status)
	_, _, _, code := r.error(t)
	require.Equal(t, "local-only", code)
}

// TestCutAnswer: half an answer of the server is never passed off as whole.
func TestCutAnswer(t *testing.T) {
	for name, step := range map[string]fake.Step{
		"cut": fake.Cut("one two three four", 2), "ended": fake.End("one two three four", 2), "stalled": fake.Stall("one two three four", 2),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, step)
			w.policy(always, never)
			r := w.post(chatPath, ask("tiny+mine", "why", ""))
			require.Equal(t, http.StatusBadGateway, r.status)
			message, kind, _, code := r.error(t)
			require.Equal(t, []string{"server_error", "cut"}, []string{kind, code})
			require.Contains(t, message, "cut")
			require.Equal(t, "server", r.header.Get(route.HeaderRoute))

			r = w.post(chatPath, ask("tiny+mine", "why", `,"stream":true`))
			require.Equal(t, http.StatusOK, r.status)
			require.Contains(t, r.body, `"content":"one"`)
			require.Contains(t, r.body, `"code":"cut"`)
			require.NotContains(t, r.body, "[DONE]")
			require.NotContains(t, r.body, `"finish_reason":"`)

			acc, _, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), params("tiny+mine", "why")))
			var told *ssestream.StreamError
			require.ErrorAs(t, err, &told)
			require.Equal(t, "one two", acc.Choices[0].Message.Content)
			require.Empty(t, acc.Choices[0].FinishReason)
		})
	}
}

// TestForcedServerFails: without a way back the failure is told.
func TestForcedServerFails(t *testing.T) {
	w := newWorld(t, nil, fake.Fail(500, 0, "out of memory"))
	for _, stream := range []string{"", `,"stream":true`} {
		r := w.post(chatPath, ask(base, "why", stream), route.HeaderRoute, "server")
		require.Equal(t, http.StatusBadGateway, r.status)
		_, _, _, code := r.error(t)
		require.Equal(t, "server-error", code)
	}
}

// TestClientLeaves: nothing is computed for a client that is gone.
func TestClientLeaves(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := strings.Replace(ask(base, "hello", `,"stream":true,"temperature":2,"seed":1`), `"max_tokens":40`, `"max_tokens":2000`, 1)
	req, err := http.NewRequestWithContext(ctx, "POST", w.http.URL+chatPath, strings.NewReader(body))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = bufio.NewReader(res.Body).ReadString('\n')
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { return strings.Contains(w.log.String(), `"status":499`) }, 5*time.Second, 5*time.Millisecond, "the log: %s", w.log)
	n := w.hybrid.Device.Model.Computed()
	require.Less(t, n, int64(1900))
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, n, w.hybrid.Device.Model.Computed())
}

// TestManyAtOnce: answers made at the same time are those made alone, while a
// customisation is replaced.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	var want sync.Map
	id := []string{base, base + "+mine", base + "+desk"}
	for _, m := range id {
		c, err := w.server.shelf.find(t.Context(), m)
		require.NoError(t, err)
		want.Store(m, w.alone(c, "why", 12).Text)
	}
	fresh, err := New(w.server.opt) // which has bound nothing yet
	require.NoError(t, err)
	w.http.Config.Handler = fresh.Handler()
	var wg sync.WaitGroup
	fail := make(chan error, 100)
	for i := range 24 {
		wg.Go(func() {
			m := id[i%len(id)]
			p := params(m, "why")
			p.MaxTokens = openai.Int(12)
			text := ""
			if i%2 == 0 {
				r, err := w.client.Chat.Completions.New(t.Context(), p)
				if err != nil {
					fail <- err
					return
				}
				text = r.Choices[0].Message.Content
			} else {
				acc, _, err := read(w.client.Chat.Completions.NewStreaming(t.Context(), p))
				if err != nil {
					fail <- err
					return
				}
				text = acc.Choices[0].Message.Content
			}
			if own, _ := want.Load(m); own != text {
				fail <- fmt.Errorf("%s: %q, alone %q", m, text, own)
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			w.put("other")
			if _, err := w.client.Models.List(t.Context()); err != nil {
				fail <- err
			}
			if _, err := w.client.Chat.Completions.New(t.Context(), params("tiny+other", "why")); err != nil {
				fail <- err
			}
		}
	})
	wg.Wait()
	close(fail)
	for err := range fail {
		require.NoError(t, err)
	}
}

// TestErrorsInTheClient: the official client reads the error object.
func TestErrorsInTheClient(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.client.Chat.Completions.New(t.Context(), params("tiny+mina", "why"))
	var told *openai.Error
	require.ErrorAs(t, err, &told)
	require.Equal(t, http.StatusNotFound, told.StatusCode)
	require.Equal(t, "model_not_found", told.Code)
	require.Equal(t, "model", told.Param)
	require.Contains(t, told.Message, `"tiny+mine"`)
	require.False(t, errors.Is(err, context.Canceled))
}

// TestBareModel: a model without a pool chats and completes under its own name.
func TestBareModel(t *testing.T) {
	w := newWorld(t, nil)
	w.hybrid.Device.Pool = pool.Bare(w.hybrid.Device.Lineage, w.hybrid.Device.Model.Config)
	for _, stream := range []string{"", `,"stream":true`} {
		r := w.post(chatPath, ask(base, "why", stream))
		require.Equal(t, http.StatusOK, r.status, r.body)
		require.Contains(t, r.body, `"system_fingerprint":"crayon-`+w.hybrid.Device.Lineage[:12])
	}
}
