package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/headwater-data/headwater/internal/embedded/broker/brokertest"
)

// batchOfArrow stands for what Headwater sends: one record of 4 MiB that is already compressed.
func batchOfArrow(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	value := make([]byte, 4<<20)
	for i := 0; i < len(value); i += 8 {
		for j, v := 0, random.Uint64(); j < 8; j, v = j+1, v>>8 {
			value[i+j] = byte(v)
		}
	}
	return value
}

func BenchmarkProduce4MiB(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			s := brokertest.StartWith(b, brokertest.Options{Sync: sync})
			s.CreateTopic("bulk", 1, "max.message.bytes", "16777216", "retention.ms", "-1")
			c, value := s.Client(), batchOfArrow(1)
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				res, err := c.Produce(context.Background(), &kafka.ProduceRequest{Topic: "bulk", RequiredAcks: kafka.RequireAll,
					Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(value)})})
				if err != nil || res.Error != nil {
					b.Fatal(err, res)
				}
			}
		})
	}
}

func BenchmarkFetch4MiB(b *testing.B) {
	const records = 64
	s := brokertest.Start(b)
	s.CreateTopic("bulk", 1, "max.message.bytes", "16777216")
	c := s.Client()
	value := batchOfArrow(1)
	for range records {
		if _, err := c.Produce(context.Background(), &kafka.ProduceRequest{Topic: "bulk", RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(value)})}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(value)))
	offset := int64(0)
	for b.Loop() {
		res, err := c.Fetch(context.Background(), &kafka.FetchRequest{Topic: "bulk", Offset: offset % records, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		if err != nil || res.Error != nil {
			b.Fatal(err, res)
		}
		r, err := res.Records.ReadRecord()
		if err != nil {
			b.Fatal(err)
		}
		got, err := kafka.ReadAll(r.Value)
		if err != nil || !bytes.Equal(got[:8], value[:8]) {
			b.Fatal(err, len(got))
		}
		offset++
	}
}
