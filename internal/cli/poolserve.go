package cli

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"crayon"
)

func (a *app) poolServeCommand() *cobra.Command {
	var o crayon.ServeOptions
	var quiet bool
	cmd := &cobra.Command{
		Use: "serve [FILE]", Short: "Serve a pool to devices that do not hold its adapters",
		Long: `Gives devices the pool without its adapters' sides, by which they weigh the adapters
themselves, and for such weights the one adapter they make: crayon customize NAME
-f EXAMPLES --pool-url URL. It opens no model and keeps nothing of a request, nor
logs its weights, so that any number of copies can stand behind a load balancer;
/healthz says that it lives. Only this machine may ask, unless a key is set
(CRAYON_SERVE_KEY; devices send that of CRAYON_POOL_SERVER_KEY).`,
		Example: "  crayon pool serve\n  crayon pool serve large.crayon --addr 0.0.0.0:8323",
		Args:    args(0, 1, "a pool FILE at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.poolAt(args)
			if err != nil {
				return err
			}
			s, err := a.settings()
			if err != nil {
				return err
			}
			o.Key, o.Keys = s.Serve.Key, keysOf(s.Serve.Keys)
			if !quiet {
				o.Log = slog.New(slog.NewTextHandler(a.err, nil))
			}
			o.Ready = func(addr string) {
				if err := a.emit(map[string]string{"listening": addr, "pool": p.Digest()}, nil); err != nil {
					a.warn(err.Error())
				}
				fmt.Fprintf(a.err, "pool %s (%.12s) at http://%s (Ctrl-C ends)\n", p.Name, p.Digest(), addr)
			}
			return crayon.ServePool(cmd.Context(), p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", crayon.DefaultPoolAddr, "the `HOST:PORT` to listen on")
	f.StringSliceVar(&o.Hosts, "host", nil, "further `NAMES` clients may call this machine by")
	f.BoolVar(&quiet, "quiet", false, "log no requests")
	return cmd
}
