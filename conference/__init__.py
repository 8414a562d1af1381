"""The ward's end of the city's video conference: browsers come in, a meeting goes out.

It knows neither the sensors (`drivers`) nor the program around it (`edge_agent`).
"""
