package cli

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) serveCommand() *cobra.Command {
	var hosts, origins []string
	var addr string
	var quiet bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve the base model and your customisations as OpenAI's API does",
		Long: `Answers /v1/chat/completions, /v1/completions and /v1/models. The base model is
known by its name, a customisation as BASE+NAME. Only this machine may ask, unless
a key is set (CRAYON_SERVE_KEY). With CRAYON_SERVER_URL set, queries out of scope go
to that server, told in the headers x-crayon-route and x-crayon-reason. With
--adapter that adapter answers, under its own name, and there are no customisations.`,
		Example: "  crayon serve\n  crayon serve --addr 127.0.0.1:9000 --local-only",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			if addr == "" {
				addr = s.Serve.Addr
			}
			c, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			var log *slog.Logger
			if !quiet {
				log = slog.New(slog.NewTextHandler(a.err, nil))
			}
			return c.Serve(cmd.Context(), crayon.ServeOptions{Addr: addr, Key: s.Serve.Key, Keys: keysOf(s.Serve.Keys), Hosts: hosts, Origins: origins, Log: log,
				Ready: func(addr string) {
					if err := a.emit(map[string]string{"listening": addr}, nil); err != nil {
						a.warn(err.Error())
					}
					fmt.Fprintf(a.err, "listening on http://%s (Ctrl-C ends)\n", addr)
				}})
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.adapter, "adapter", "", adapterHelp)
	f.StringVar(&addr, "addr", "", "the `HOST:PORT` to listen on (CRAYON_SERVE_ADDR, default 127.0.0.1:8321)")
	f.StringSliceVar(&hosts, "host", nil, "further `NAMES` clients may call this machine by")
	f.StringSliceVar(&origins, "origin", nil, "web `PAGES` that may ask, as http://localhost:3000")
	f.BoolVar(&quiet, "quiet", false, "log no requests")
	settingFlags(f, "server.url", "server.model", "ledger.bodies", "route.mode", "prefix_cache")
	return cmd
}
