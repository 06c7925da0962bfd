package broker

import (
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/headwater-data/headwater/internal/secret"
)

// Mechanism is how clients of an embedded broker say who they are.
func Mechanism(user string, password secret.Value) (sasl.Mechanism, error) {
	m, err := scram.Mechanism(scram.SHA256, user, password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("prepare login to the embedded broker: %w", err)
	}
	return m, nil
}

// Transport connects a kafka-go Client to an embedded broker. The caller calls CloseIdleConnections when done with it.
func Transport(user string, password secret.Value) (*kafka.Transport, error) {
	m, err := Mechanism(user, password)
	if err != nil {
		return nil, err
	}
	return &kafka.Transport{SASL: m, ClientID: "headwater"}, nil
}
