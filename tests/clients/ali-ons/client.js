'use strict';

// Drives npm ali-ons, unchanged. What it does it prints as one JSON object a line; "stop" on stdin ends a consumer.
//
//   node client.js send NAMESRV TOPIC GROUP FIRST COUNT
//   node client.js consume NAMESRV TOPIC GROUP EXPRESSION

const { Consumer, Message, Producer } = require('ali-ons');

const print = value => process.stdout.write(JSON.stringify(value) + '\n');

// It asks for an HTTP client, to find NameServers by; ours are given.
const httpclient = {
  async request() {
    throw new Error('no HTTP client is needed');
  },
};

const logger = {
  debug() {},
  info() {},
  warn(...args) {
    console.error('warn', ...args);
  },
  error(...args) {
    console.error('error', ...args);
  },
};

function options(namesrv, more) {
  return Object.assign({ httpclient, logger, nameSrv: namesrv.split(';'), rebalanceInterval: 2000 }, more);
}

// The same for every client: tags in turns of four, a key, and text beyond ASCII.
function sample(number) {
  return { tag: Math.floor(number / 4) % 2 ? 'TagB' : 'TagA', key: `key-${number}`, body: `Nr. ${number}: Grüße, 你好, 🚀` };
}

async function send(namesrv, topic, group, first, count) {
  const producer = new Producer(options(namesrv, { producerGroup: group }));
  producer.on('error', err => console.error('producer', err));
  await producer.ready();
  for (let number = Number(first); number < Number(first) + Number(count); number++) {
    const { tag, key, body } = sample(number);
    const message = new Message(topic, tag, body);
    message.keys = [ key ];
    const sent = await producer.send(message);
    print({ sent: number, status: sent.sendStatus, id: sent.msgId, queue: sent.messageQueue.queueId,
      offset: sent.queueOffset });
  }
  await producer.close();
}

async function consume(namesrv, topic, group, expression) {
  const consumer = new Consumer(options(namesrv, { consumerGroup: group, consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET' }));
  consumer.on('error', err => console.error('consumer', err));
  consumer.subscribe(topic, expression, async message => {
    print({ got: message.body.toString('utf8'), tag: message.tags, key: message.keys, id: message.msgId,
      queue: message.queueId, offset: message.queueOffset });
  });
  await consumer.ready();
  const queues = () => Array.from(consumer.processQueueTable.values())
    .map(item => item.messageQueue)
    .filter(queue => queue.topic === topic)
    .map(queue => queue.queueId)
    .sort((a, b) => a - b);
  let told = '';
  const watch = setInterval(() => {
    const assigned = queues();
    if (JSON.stringify(assigned) !== told) {
      told = JSON.stringify(assigned);
      print({ assigned });
    }
  }, 50);
  await new Promise(resolve => process.stdin.once('data', resolve));
  clearInterval(watch);
  await consumer.close();
  print({ closed: true });
}

async function main() {
  const [ what, ...args ] = process.argv.slice(2);
  const commands = { send, consume };
  await commands[what](...args);
}

main().then(() => process.exit(0), err => {
  console.error(err);
  process.exit(1);
});
