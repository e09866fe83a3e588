// Command echo is a bot that accepts every friend request and echoes every dialogue, also those that it has missed. It
// uses an ordinary account:
//
//	IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… go run ./examples/echo
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"imctl/bridge/client"
	"imctl/bridge/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var bot *client.Client
	bot, err := client.Connect(ctx, client.Config{
		URL: os.Getenv("IM_NATS"), ID: os.Getenv("IM_ID"), Account: os.Getenv("IM_ACCOUNT"), Password: os.Getenv("IM_PASSWORD"),
		CA: os.Getenv("IM_CA"), // the self-signed certificate of the server
		Notice: func(ctx context.Context, n client.Notice) {
			if n.Code == wire.FriendApply {
				report(bot.Accept(ctx, n.Request))
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer bot.Close()
	for d := range bot.Dialogues(ctx) {
		if d.IsChange() {
			continue
		}
		// The id follows from the dialogue, so that the server stores the echo once, however often the bot sends it.
		_, err := bot.Send(ctx, client.Dialogue{ID: "echo-" + d.Key(), To: d.With, Payload: d.Payload, Re: d.N})
		report(err)
	}
	report(bot.Err())
}

func report(err error) {
	if err != nil {
		log.Print(err)
	}
}
