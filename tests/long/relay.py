#!/usr/bin/env python3
"""relay.py LISTEN TARGET WORD...: passes bytes between a client and 127.0.0.1:TARGET, and looks for the words in every
byte that comes back, as they are and in hexadecimal. Ends with its input; prints what passed, and fails if a word was found."""
import os, select, socket, sys, threading

listen, target, words = int(sys.argv[1]), int(sys.argv[2]), [word.encode().lower() for word in sys.argv[3:]]
words += [word.hex().encode() for word in words]
longest = max(map(len, words)) - 1
passed, found = 0, []


def one(client):
    global passed
    server = socket.create_connection(('127.0.0.1', target))
    tail = b''
    while True:
        for ready in select.select([client, server], [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                client.close()
                return server.close()
            if ready is server:
                passed += len(data)
                looked = (tail + data).lower()
                tail = looked[-longest:]
                for word in words:
                    if (at := looked.find(word)) >= 0:
                        found.append(looked[max(0, at - 60):at + 60])
            (client if ready is server else server).sendall(data)


def serve(listener):
    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=serve, args=(socket.create_server(('127.0.0.1', listen)),), daemon=True).start()
sys.stdin.read()
print(f'{passed} bytes came back; foreign words in {len(found)} places')
for place in found[:10]:
    print('  ', place)
os._exit(1 if found else 0)
